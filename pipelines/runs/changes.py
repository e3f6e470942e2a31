"""What one transaction changes about one run, collected first and written together."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import datetime
from typing import Any

from django.utils import timezone

from .. import doorbell, events, wake
from ..models import Run, Stage
from ..states import ENDED, State, check

_CHUNK = 500  # keys in one statement


class Changes:
    """Nothing is written before `save`. A stage that moves twice is written once, with both events; stages that move
    alike are written by one statement, however many they are. `run` must be locked, and read since."""

    def __init__(self, run: Run, now: datetime | None = None) -> None:
        self.run = run
        self.now = now or timezone.now()
        self.events: list[events.New] = []
        self.queued = 0
        self._stages: dict[int, dict[str, Any]] = {}
        self._run: dict[str, Any] = {}

    def move(
        self, stage: int, name: str, old: str, to: State, *, code: str = "", reason: str = "",
        attempt: int | None = None, **fields: Any,
    ) -> None:  # fmt: skip
        """Change a stage's state, with the event that says so. Raises IllegalTransition."""
        check(name, old, to)
        fields = {"state": to, "reason_code": code, "reason": reason, "since": self.now, "due_at": None} | fields
        if to in ENDED:
            fields.setdefault("ended_at", self.now)
        if to is State.QUEUED:
            self.queued += 1
        self._stages.setdefault(stage, {}).update(fields)
        self.say(events.StageChanged(state=to, code=code, reason=reason), stage=stage, attempt=attempt)

    def reword(self, stage: int, code: str, reason: str, *, due_at: datetime | None) -> None:
        """Say anew what a stage waits for, which goes on waiting."""
        self._stages.setdefault(stage, {}).update({"reason": reason, "due_at": due_at})
        self.say(events.StageChanged(state=State.WAITING, code=code, reason=reason), stage=stage)

    def pass_through(self, stage: int, **fields: Any) -> None:
        """Change a stage on its way to a state that `advance` is about to decide: nobody needs to see it between."""
        self._stages.setdefault(stage, {}).update({"reason_code": "", "since": self.now, "due_at": None} | fields)

    def move_run(self, state: str, *, ended_at: datetime | None) -> None:
        """Change the run's state, with the event that says so."""
        self.run.state, self.run.ended_at = state, ended_at
        self._run |= {"state": state, "ended_at": ended_at}
        self.say(events.RunChanged(state=state, reason=self.run.reason))

    def say(self, payload: events.Payload, *, stage: int | None = None, attempt: int | None = None) -> None:
        self.events.append(events.New(payload, stage, attempt))

    def changed(self) -> Collection[int]:
        """The keys of the stages that `save` will write."""
        return self._stages.keys()

    def show(self, stage: int, row: object) -> None:
        """Give `row`, as it was read, what has changed about the stage since and is not written yet."""
        for name, value in self._stages.get(stage, {}).items():
            if hasattr(row, name):
                setattr(row, name, value)

    def save(self) -> None:
        """Write the moves and the events, and wake as many workers as there is new work for."""
        alike: dict[Hashable, tuple[dict[str, Any], list[int]]] = {}
        for stage, fields in self._stages.items():
            key = tuple(sorted((k, repr(v)) for k, v in fields.items()))
            alike.setdefault(key, (fields, []))[1].append(stage)
        for fields, stages in alike.values():
            for start in range(0, len(stages), _CHUNK):
                Stage.objects.filter(pk__in=stages[start : start + _CHUNK]).update(**fields)
        events.append_locked(self.run, self.events, **self._run)
        self._stages, self._run, self.events = {}, {}, []
        if self.queued and self.run.engine == "local":
            wake.workers(self.queued)
        if self.run.engine == "argo":
            doorbell.ring_on_commit(doorbell.ARGO)
        self.queued = 0
