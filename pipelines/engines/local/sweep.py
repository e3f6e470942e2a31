"""Outside the workers: find what is due, lost or forgotten, and set it going again. Every step is safe to repeat."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines import runs, wake
from pipelines.models import Attempt, Beat, Delivery, Environment, Stage
from pipelines.runs.advance import advance_locked, lock, make_way, wake_next
from pipelines.runs.changes import Changes
from pipelines.states import ENDED, Reason, State

from .identity import is_dead
from .intake import HELD_BY

log = logging.getLogger(__name__)

QUARANTINE = 3  # workers that one attempt may take with it
STALLED = 8.0  # seconds for which ready work may lie untouched while a worker is free


def sweep(*, judge_silence: bool = True) -> None:
    """One round. A failure in one part must not keep the others from being done.

    Without `judge_silence`, only workers that are known to be dead lose what they hold.
    """
    now = timezone.now()
    for part in (_dead_workers, *((_silent_workers,) if judge_silence else ()), _dropped_pushes, _due_stages,
                 _free_locks, _deadlocks, _forgotten):  # fmt: skip
        try:
            part(now)
        except Exception:
            log.exception("The sweeper could not do %s", part.__name__)
    Beat.objects.update_or_create(name="sweeper", defaults={"at": now})


def _dead_workers(now: datetime) -> None:
    """Attempts whose worker was on this machine and is no more."""
    held = Attempt.objects.filter(open=True, lease_until__isnull=False)
    for pk, fence, claims, worker in held.values_list("pk", "fence", "claims", "worker"):
        if is_dead(worker):
            _lose(pk, fence, claims, f"worker {worker} is gone")


def _silent_workers(now: datetime) -> None:
    """Attempts whose lease has run out."""
    held = Attempt.objects.filter(open=True, lease_until__lte=now)
    for pk, fence, claims, worker in held.values_list("pk", "fence", "claims", "worker"):
        _lose(pk, fence, claims, f"worker {worker} has been silent")


def _dropped_pushes(now: datetime) -> None:
    """Pushes whose commit was being fetched by a worker that is no more."""
    held = Delivery.objects.filter(open=True, not_before__gt=now, note__startswith=HELD_BY)
    for pk, note in held.values_list("pk", "note"):
        if is_dead(note.removeprefix(HELD_BY)):
            Delivery.objects.filter(pk=pk, note=note).update(not_before=now)
            wake.workers(1)


def _free_locks(now: datetime) -> None:
    """Runs that wait for an environment which nobody holds: who gave it back died before it could tell them."""
    waiting = Stage.objects.filter(state=State.WAITING, reason_code=Reason.LOCK).order_by()
    for pipeline, name in waiting.values_list("run__pipeline", "environment").distinct():
        if Environment.objects.filter(pipeline=pipeline, name=name, holder=None).exists():
            wake_next(pipeline, name)


def _lose(pk: int, fence: int, claims: int, why: str) -> None:
    try:
        if claims >= QUARANTINE:
            words = f"quarantined: {claims} workers were lost while they worked on it; have a look before you retry it"
            runs.lost(pk, fence, words, quarantine=True)
        else:
            runs.lost(pk, fence, f"{why}; finding out what became of the work")
    except runs.StaleResult:
        log.info("Attempt %s was reported after all", pk)


def _due_stages(now: datetime) -> None:
    """Gates that expired, windows that opened, engines to try again, retries whose backoff is over."""
    due = Stage.objects.filter(due_at__lte=now).values_list("pk", "run", "state", "reason_code")
    for pk, run, state, code in due:
        if state == State.QUEUED:
            wake.workers(1)
        elif state == State.WAITING and code == Reason.ENGINE:
            _requeue(pk, run)
        elif state == State.WAITING and code == Reason.APPROVAL:
            _expire(pk, run)
        elif state not in ENDED:
            # Without its reason it is decided about afresh: another window may have opened, or the same one moved.
            Stage.objects.filter(pk=pk, state=state).update(due_at=None, reason_code="")
            runs.advance(run)


def _deadlocks(now: datetime) -> None:
    """Runs that each hold an environment which the next one in a circle waits for: the newest of them makes way."""
    held = {
        (pipeline, name): holder
        for pipeline, name, holder in Environment.objects.exclude(holder=None).values_list("pipeline", "name", "holder")
    }
    if len(held) < 2:
        return
    waiting = Stage.objects.filter(state=State.WAITING, reason_code=Reason.LOCK, run__in=held.values())
    wants: dict[int, int] = {}
    for run, pipeline, name in waiting.values_list("run", "run__pipeline", "environment"):
        holder = held.get((pipeline, name))
        if holder is not None and holder != run:
            wants[run] = holder
    for run in wants:
        circle = [run]
        while (following := wants.get(circle[-1])) is not None and following not in circle:
            circle.append(following)
        if following == run:
            make_way(max(circle), for_run=min(circle))
            return


def _requeue(pk: int, run: int) -> None:
    with transaction.atomic():
        changes = Changes(lock(run))
        stage = Stage.objects.get(pk=pk)
        if stage.state == State.WAITING and stage.reason_code == Reason.ENGINE:
            changes.move(pk, stage.name, stage.state, State.QUEUED, code="engine", reason="trying the engine again")
            advance_locked(changes.run, changes)


def _expire(pk: int, run: int) -> None:
    with transaction.atomic():
        changes = Changes(lock(run))
        stage = Stage.objects.get(pk=pk)
        due = stage.due_at is not None and stage.due_at <= changes.now
        if due and stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL:
            words = "its gate expired: nobody approved it in time; retry it to ask again"
            changes.move(pk, stage.name, stage.state, State.REJECTED, reason=words)
            advance_locked(changes.run, changes)


def _forgotten(now: datetime) -> None:
    """Work that is ready and that nobody was woken for: a wake-up can be lost, the row cannot."""
    old = now - timedelta(seconds=1)
    due = Q(due_at=None) | Q(due_at__lte=now)
    ready = Stage.objects.filter(
        due, Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"), since__lte=old
    ).count()
    pushes = Delivery.objects.filter(Q(not_before=None, at__lte=old) | Q(not_before__lte=now), open=True).count()
    if ready + pushes:
        wake.workers(ready + pushes)


def is_stalled(now: datetime | None = None) -> bool:
    """Whether ready work lies untouched although a worker should be free: then the cluster has to be restarted."""
    now = now or timezone.now()
    old = now - timedelta(seconds=STALLED)
    due = Q(due_at=None) | Q(due_at__lte=old)
    untouched = Stage.objects.filter(
        due, Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"), since__lte=old
    ).exists()
    untouched = (
        untouched
        or Delivery.objects.filter(Q(not_before=None, at__lte=old) | Q(not_before__lte=old), open=True).exists()
    )
    busy = Attempt.objects.filter(open=True, lease_until__gt=now).count()
    return untouched and busy < settings.WORKERS
