"""Taking a stage: compare-and-set under the run's lock, with an attempt row, a lease and a token of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines.models import Attempt, Pipeline, Run, Stage, new_stage
from pipelines.runs.advance import lock
from pipelines.runs.changes import Changes
from pipelines.snapshots import Loaded
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


def next_attempt(worker: str) -> Claimed | None:
    """Claim the stage that is ready the longest, or None if there is none."""
    while True:
        now = timezone.now()
        ready = list(
            Stage.objects.filter(Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"))
            .filter(Q(due_at=None) | Q(due_at__lte=now), run__engine="local")
            .order_by("id")
            .values_list("pk", "run")[:LOOK_AT]
        )
        for stage, run in ready:
            if claimed := claim(stage, run, worker, now):
                return claimed
        if len(ready) < LOOK_AT:
            return None


def claim(stage: int, run: int, worker: str, now: datetime) -> Claimed | None:
    with transaction.atomic():
        changes = Changes(lock(run), now)
        row = Stage.objects.get(pk=stage)
        if not (row.state == State.QUEUED or _is_lost(row)) or (row.due_at and row.due_at > now):
            return None
        claimed = _take(row, worker, changes)
        changes.save()
        return claimed


def claim_next(loaded: Loaded, changes: Changes, worker: str, pipeline: Pipeline) -> Claimed | None:
    """Claim the first stage that is ready in a run that is locked anyway, in its transaction."""
    changes.run.pipeline = pipeline
    for position, row in enumerate(loaded.rows):
        if row.state == State.QUEUED and (row.due_at is None or row.due_at <= changes.now):
            stage = _untouched(loaded, position) or Stage.objects.get(pk=row.id)
            changes.show(row.id, stage)
            made = [(i, r.artifacts) for i, r in enumerate(loaded.rows) if r.artifacts and r.state == State.SUCCEEDED]
            return replace(_take(stage, worker, changes), made=made)
    return None


def _untouched(loaded: Loaded, position: int) -> Stage | None:
    """A stage without a gate that nobody has tried yet: it is what its definition says."""
    row, definition = loaded.rows[position], loaded.definitions[position]
    if row.attempts_made or row.reason_code or definition["gate"] is not None:
        return None
    return new_stage(loaded.run, position, definition, pk=row.id, state=row.state)


def _is_lost(stage: Stage) -> bool:
    return stage.state == State.UNKNOWN and stage.reason_code == "lost"


def _take(stage: Stage, worker: str, changes: Changes) -> Claimed:
    lost = _is_lost(stage)
    attempt = _open_attempt(stage, worker, changes.now, after_a_loss=lost)
    _run_it(stage, attempt, changes)
    stage.run = changes.run
    return Claimed(
        attempt.pk, attempt.fence, attempt.key, attempt.number, attempt.phase, stage, changes.run, lost,
        attempt.started_at,
    )  # fmt: skip


def _open_attempt(stage: Stage, worker: str, now: datetime, *, after_a_loss: bool) -> Attempt:
    """The stage's open attempt with the next token, or a new one."""
    lease = now + timedelta(seconds=settings.LEASE)
    if after_a_loss or stage.reason_code in ("stop", "resume", "engine"):
        attempt = Attempt.objects.filter(stage=stage, open=True).first()
        if attempt is not None:
            attempt.fence += 1
            attempt.claims = attempt.claims + 1 if after_a_loss else 1
            attempt.worker, attempt.lease_until, attempt.heartbeat_at = worker, lease, now
            attempt.state = State.RUNNING
            attempt.save()
            return attempt
    planning = stage.reason_code == "plan"
    number = stage.attempts_made + (0 if planning else 1)
    # A plan's key must differ from the work's, and from those of earlier plans of the same attempt.
    key = f"s{stage.pk}-p{Attempt.objects.filter(stage=stage).count()}" if planning else f"s{stage.pk}-{number}"
    return Attempt.objects.create(
        stage=stage, number=number, key=key, worker=worker, lease_until=lease, heartbeat_at=now, started_at=now,
        phase=Attempt.Phase.PLAN if planning else Attempt.Phase.WORK,
    )  # fmt: skip


def _run_it(stage: Stage, attempt: Attempt, changes: Changes) -> None:
    planning = attempt.phase == Attempt.Phase.PLAN
    old = stage.reason if stage.stop_requested else ""
    changes.move(
        stage.pk, stage.name, stage.state, State.RUNNING, attempt=attempt.number,
        code="plan" if planning else "", reason="its plan is being made" if planning else old,
        attempts_made=attempt.number, started_at=stage.started_at or (None if planning else changes.now),
    )  # fmt: skip
    changes.show(stage.pk, stage)
    if changes.run.state != RunState.RUNNING:
        changes.move_run(RunState.RUNNING, ended_at=changes.run.ended_at)
