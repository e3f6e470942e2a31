"""What one transaction changes about one run, collected first and written together."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Any

from django.utils import timezone

from .. import events, wake
from ..models import Run, Stage
from ..states import ENDED, State, check

_CHUNK = 500  # keys in one statement


class Changes:
    """Stages that move alike are written by one statement, however many they are."""

    def __init__(self, run: Run, now: datetime | None = None) -> None:
        self.run = run
        self.now = now or timezone.now()
        self.events: list[events.New] = []
        self.queued = 0
        self._moves: dict[Hashable, tuple[dict[str, Any], list[int]]] = {}

    def move(
        self, stage: int, name: str, old: str, to: State, *, code: str = "", reason: str = "", **fields: Any
    ) -> None:
        """Change a stage's state, with the event that says so. Raises IllegalTransition."""
        check(name, old, to)
        fields = {"state": to, "reason_code": code, "reason": reason, "since": self.now, "due_at": None} | fields
        if to in ENDED:
            fields.setdefault("ended_at", self.now)
        if to is State.QUEUED:
            self.queued += 1
        self._note(stage, fields)
        self.say(events.StageChanged(state=to, code=code, reason=reason), stage=stage)

    def pass_through(self, stage: int, **fields: Any) -> None:
        """Change a stage on its way to a state that `advance` is about to decide: nobody needs to see it between."""
        self._note(stage, {"reason_code": "", "since": self.now, "due_at": None} | fields)

    def _note(self, stage: int, fields: dict[str, Any]) -> None:
        key = tuple(sorted((k, repr(v)) for k, v in fields.items()))
        self._moves.setdefault(key, (fields, []))[1].append(stage)

    def say(self, payload: events.Payload, *, stage: int | None = None, attempt: int | None = None) -> None:
        self.events.append(events.New(payload, stage, attempt))

    def save(self) -> None:
        """Write the moves and the events, and wake as many workers as there is new work for."""
        for fields, stages in self._moves.values():
            for start in range(0, len(stages), _CHUNK):
                Stage.objects.filter(pk__in=stages[start : start + _CHUNK]).update(**fields)
        self._moves.clear()
        events.append(self.run.pk, self.events)
        self.events = []
        if self.queued and self.run.engine == "local":
            wake.workers(self.queued)
        self.queued = 0
