"""Taking a stage: compare-and-set under the run's lock, with an attempt row, a lease and a token of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines.dag import PLANNING
from pipelines.models import Attempt, Run, Stage, new_stage
from pipelines.runs.advance import lock
from pipelines.runs.changes import Changes
from pipelines.snapshots import Loaded, Row
from pipelines.states import RunState, State

Made = Sequence[tuple[int, list[dict[str, Any]]]]
LOOK_AT = 8  # candidates at a time; others are tried by those who lost these


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stage in a worker's hands. `probe`: it was lost before, so find out first what became of it. `made`: the
    artifacts of what has succeeded in the run, by position, where they are known already."""

    attempt: int
    fence: int
    key: str
    number: int
    phase: str
    stage: Stage
    run: Run
    probe: bool
    started_at: datetime
    made: Made | None = None


class Taken(Exception):
    """Whatever is ready belongs to runs that others are changing at this moment."""


def next_attempt(worker: str) -> Claimed | None:
    """Claim the stage that is ready the longest, or None if there is none. Raises Taken."""
    locked: set[int] = set()
    while True:
        now = timezone.now()
        ready = list(
            Stage.objects.filter(Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"))
            .filter(Q(due_at=None) | Q(due_at__lte=now), run__engine="local")
            .exclude(run__in=locked)
            .order_by("id")
            .values_list("pk", "run")[:LOOK_AT]
        )
        for stage, run in ready:
            if run not in locked:
                try:
                    if claimed := claim(stage, run, worker, now):
                        return claimed
                except Run.DoesNotExist:
                    locked.add(run)
        if len(ready) < LOOK_AT:
            if locked:
                raise Taken
            return None


def claim(stage: int, run: int, worker: str, now: datetime) -> Claimed | None:
    """Raises Run.DoesNotExist if the run is locked: to queue up for it would only hold up whoever is at it, who takes
    its ready stages anyway. (SQLite has one lock for all; there it waits.)"""
    with transaction.atomic():
        changes = Changes(lock(run, wait=False), now)
        row = Stage.objects.get(pk=stage)
        if not (row.state == State.QUEUED or _is_lost(row)) or (row.due_at and row.due_at > now):
            return None
        claimed = take(row, worker, changes)
        changes.save()
        return claimed


class Stay:
    """A worker's stay at one run: with a stage's end it claims the next one of the run, and it remembers the run's
    stages as it left them. Implements `runs.record.Stay`.

    Where workers queue up for one run, their turns cost more than short stages do. So one that finds the run taken
    when it ends its first stage leaves it to those who were there before: it is `crowded` then."""

    def __init__(self, first: Claimed, worker: str, seconds: float) -> None:
        self.worker = worker
        self._pipeline = first.run.pipeline
        self._until = time.monotonic() + seconds
        self.crowded = False
        self._first = True
        self._next: Claimed | None = None
        self._seen: Loaded | None = None
        self._left: Loaded | None = None

    def remembered(self, run: Run) -> list[Row] | None:
        # Whoever changes a stage appends an event. It is forgotten at once: should this transaction fail, the rows
        # will have been changed for nothing.
        left, self._left = self._left, None
        return left.rows if left is not None and left.run.last_seq == run.last_seq else None

    def told(self, before: int, after: int) -> None:
        if self._left is not None and self._left.run.last_seq == before:
            self._left.run.last_seq = after

    def go_on(self, loaded: Loaded, changes: Changes, *, waited: bool) -> None:
        changes.run.pipeline = self._pipeline
        self._seen, self._next = loaded, None
        self.crowded = waited and self._first
        if time.monotonic() < self._until and not self.crowded:
            self._next = _claim_first(loaded, changes, self.worker)

    def committed(self) -> Claimed | None:
        """Call it when a stage's end is in the database; returns what was claimed with it."""
        self._first = False
        self._left, self._seen = self._seen, None
        claimed, self._next = self._next, None
        return claimed


def _claim_first(loaded: Loaded, changes: Changes, worker: str) -> Claimed | None:
    """Claim the first stage that is ready in a run that is locked anyway, in its transaction."""
    for position, row in enumerate(loaded.rows):
        if row.state == State.QUEUED and (row.due_at is None or row.due_at <= changes.now):
            stage = _untouched(loaded, position) or Stage.objects.get(pk=row.id)
            changes.show(row.id, stage)
            made = [(i, r.artifacts) for i, r in enumerate(loaded.rows) if r.artifacts and r.state == State.SUCCEEDED]
            claimed = replace(take(stage, worker, changes), made=made)
            changes.show(row.id, row)
            return claimed
    return None


def _untouched(loaded: Loaded, position: int) -> Stage | None:
    """A stage without a gate that nobody has tried yet: it is what its definition says."""
    row, definition = loaded.rows[position], loaded.definitions[position]
    if row.attempts_made or row.reason_code or definition["gate"] is not None:
        return None
    return new_stage(loaded.run, position, definition, pk=row.id, state=row.state)


def _is_lost(stage: Stage) -> bool:
    return stage.state == State.UNKNOWN and stage.reason_code == "lost"


def take(stage: Stage, worker: str, changes: Changes, *, leased: bool = True) -> Claimed:
    """Give a stage that is ready to a worker, within a transaction that holds the run's lock. Whoever is not `leased`
    is watched by other means than its lease."""
    lost = _is_lost(stage)
    attempt = _open_attempt(stage, worker, changes.now, after_a_loss=lost, leased=leased)
    _run_it(stage, attempt, changes)
    stage.run = changes.run
    return Claimed(
        attempt.pk, attempt.fence, attempt.key, attempt.number, attempt.phase, stage, changes.run, lost,
        attempt.started_at,
    )  # fmt: skip


def _open_attempt(stage: Stage, worker: str, now: datetime, *, after_a_loss: bool, leased: bool) -> Attempt:
    """The stage's open attempt with the next token, or a new one."""
    lease = now + timedelta(seconds=settings.LEASE) if leased else None
    if after_a_loss or stage.reason_code in ("stop", "resume", "engine"):
        attempt = Attempt.objects.filter(stage=stage, open=True).first()
        if attempt is not None:
            attempt.fence += 1
            attempt.claims = attempt.claims + 1 if after_a_loss else 1
            attempt.worker, attempt.lease_until, attempt.heartbeat_at = worker, lease, now
            attempt.state = State.RUNNING
            attempt.save()
            return attempt
    # Whatever led here: what has a gate is not begun without the plan that was approved.
    planning = stage.reason_code == "plan" or (stage.gated and not stage.plan_digest)
    number = stage.attempts_made + (0 if planning else 1)
    # Never the same twice, even where a database was put back to an earlier state: a key that was used before would
    # find what is left of the work that it named then, and take it for its own.
    key = f"s{stage.pk}-{'p' if planning else ''}{number}-{secrets.token_hex(4)}"
    return Attempt.objects.create(
        stage=stage, number=number, key=key, worker=worker, lease_until=lease, heartbeat_at=now, started_at=now,
        phase=Attempt.Phase.PLAN if planning else Attempt.Phase.WORK,
    )  # fmt: skip


def _run_it(stage: Stage, attempt: Attempt, changes: Changes) -> None:
    planning = attempt.phase == Attempt.Phase.PLAN
    old = stage.reason if stage.stop_requested else ""
    changes.move(
        stage.pk, stage.name, stage.state, State.RUNNING, attempt=attempt.number,
        code="plan" if planning else "", reason=PLANNING if planning else old,
        attempts_made=attempt.number, started_at=stage.started_at or (None if planning else changes.now),
    )  # fmt: skip
    changes.show(stage.pk, stage)
    if changes.run.state != RunState.RUNNING:
        changes.move_run(RunState.RUNNING, ended_at=changes.run.ended_at)
