"""Taking a stage: compare-and-set under the run's lock, with an attempt row, a lease and a token of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines import events
from pipelines.models import Attempt, Run, Stage
from pipelines.runs.advance import lock
from pipelines.states import RunState, State

LOOK_AT = 8  # candidates at a time; others are tried by those who lost these


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stage in a worker's hands. `probe`: it was lost before, so find out first what became of it."""

    attempt: int
    fence: int
    key: str
    number: int
    phase: str
    stage: Stage
    run: Run
    probe: bool
    started_at: datetime


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
        locked = lock(run)
        row = Stage.objects.get(pk=stage)
        lost = row.state == State.UNKNOWN and row.reason_code == "lost"
        if not (row.state == State.QUEUED or lost) or (row.due_at and row.due_at > now):
            return None
        attempt = _open_attempt(row, worker, now, after_a_loss=lost)
        _run_it(row, locked, attempt, now)
        row.run = locked
        return Claimed(
            attempt.pk, attempt.fence, attempt.key, attempt.number, attempt.phase, row, locked, lost,
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


def _run_it(stage: Stage, run: Run, attempt: Attempt, now: datetime) -> None:
    planning = attempt.phase == Attempt.Phase.PLAN
    old = stage.reason if stage.stop_requested else ""
    stage.state, stage.reason_code, stage.since, stage.due_at = State.RUNNING, "plan" if planning else "", now, None
    stage.reason = "its plan is being made" if planning else old
    stage.attempts_made = attempt.number
    stage.started_at = stage.started_at or (None if planning else now)
    stage.save(update_fields=["state", "reason_code", "reason", "since", "due_at", "attempts_made", "started_at"])
    news = [events.New(events.StageChanged(stage.state, stage.reason_code, stage.reason), stage.pk, attempt.number)]
    if run.state != RunState.RUNNING:
        run.state = RunState.RUNNING
        run.save(update_fields=["state"])
        news.append(events.New(events.RunChanged(run.state)))
    events.append(run.pk, news)
