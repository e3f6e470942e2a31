"""`work.Desk` of a pod: every report goes to the portal, in order, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.engines.work import NotNow, Wanted
from pipelines.executors.base import Artifact, Measured, Outcome, Plan, Progress, StageSpec
from pipelines.performance.verdict import Reading

from .portal import LONGEST, Portal
from .spool import Spool

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds between two questions what people want


class Remote:
    """`answer` is what the portal said to the claim."""

    # The portal sees by the pod whether its attempt is in good hands.
    lease = heartbeat = float("inf")

    def __init__(self, portal: Portal, answer: dict[str, Any], home: Path) -> None:
        self._portal, self._answer = portal, answer
        self.token: str = answer["token"]
        self._spool = Spool(portal, self.token, answer["reported"], home)
        self._wanted = Wanted(bool(answer["stop"]), tuple(answer["commands"]))
        self._looked = time.monotonic()

    def spec(self) -> StageSpec:
        return spec_of(self._answer["spec"])

    def given_up(self) -> Sequence[str]:
        return self._answer["given_up"]

    def wrote(self, text: str) -> None:
        self._spool.add({"kind": "log", "text": text})

    try_to_write = wrote

    def progressed(self, item: Progress) -> None:
        self._spool.add({"kind": "progress", "progress": asdict(item)})

    def produced(self, artifact: Artifact) -> None:
        self._spool.add({"kind": "produced", "artifact": asdict(artifact)})

    def planned(self, plan: Plan) -> None:
        self._say({"kind": "planned", "plan": plan.as_dict()})

    def outcome(self, result: Outcome) -> None:
        self._say({"kind": "outcome", "outcome": asdict(result)})

    def unknowable(self, reason: str) -> None:
        self._say({"kind": "unknowable", "reason": reason})

    def _say(self, report: dict[str, Any]) -> None:
        self._spool.add(report)
        self._spool.flush()

    def beat(self) -> None:
        """`look` is sign enough."""

    wait_to_beat = beat

    def look(self) -> Wanted:
        if time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            said = self._portal.look(self.token)
            self._wanted = Wanted(said["stop"], tuple(said["commands"]))
        return self._wanted

    def measured(self, environment: str) -> Measured:
        """How an executor reads what customers measured of the stage's environment, which the portal knows."""

        def read(release: str, sources: Sequence[str], since: float, until: float) -> Reading:
            delay = 0.2
            while True:
                try:
                    return self._portal.measured(self.token, release, sources, since, until)
                except NotNow as away:
                    log.warning("What was measured cannot be read, trying again in %.1f s: %s", delay, away)
                    time.sleep(delay)
                    delay = min(LONGEST, delay * 2)

        return read

    def missed(self) -> None:
        """Nothing is kept open for the second thread alone."""


def spec_of(data: dict[str, Any]) -> StageSpec:
    """The StageSpec that the portal wrote as JSON."""
    artifacts = {name: Artifact(**artifact) for name, artifact in data["artifacts"].items()}
    released = Artifact(**data["released"]) if data["released"] else None
    return StageSpec(**{**data, "artifacts": artifacts, "released": released})
