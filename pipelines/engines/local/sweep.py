"""Outside the workers: find what is due, lost or forgotten, and set it going again. Every step is safe to repeat."""

from __future__ import annotations

import logging
import socket
from datetime import datetime, timedelta

import psutil
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines import runs, wake
from pipelines.models import Attempt, Beat, Delivery, Stage
from pipelines.runs.advance import advance_locked, lock
from pipelines.runs.changes import Changes
from pipelines.states import ENDED, Reason, State

log = logging.getLogger(__name__)

QUARANTINE = 3  # workers that one attempt may take with it
STALLED = 8.0  # seconds for which ready work may lie untouched while a worker is free


def sweep() -> None:
    """One round. A failure in one part must not keep the others from being done."""
    now = timezone.now()
    for part in (_lost_attempts, _due_stages, _forgotten):
        try:
            part(now)
        except Exception:
            log.exception("The sweeper could not do %s", part.__name__)
    Beat.objects.update_or_create(name="sweeper", defaults={"at": now})


def _lost_attempts(now: datetime) -> None:
    """Attempts whose lease has run out, or whose worker was on this machine and is no more."""
    held = Attempt.objects.filter(open=True, lease_until__isnull=False).values_list(
        "pk", "fence", "claims", "worker", "lease_until"
    )
    for pk, fence, claims, worker, lease in held:
        if lease > now and not _is_dead(worker):
            continue
        why = f"worker {worker} is gone" if _is_dead(worker) else f"worker {worker} has been silent"
        _lose(pk, fence, claims, why)


def _lose(pk: int, fence: int, claims: int, why: str) -> None:
    try:
        if claims >= QUARANTINE:
            words = f"quarantined: {claims} workers were lost while they worked on it; have a look before you retry it"
            runs.lost(pk, fence, words, quarantine=True)
        else:
            runs.lost(pk, fence, f"{why}; finding out what became of the work")
    except runs.StaleResult:
        log.info("Attempt %s was reported after all", pk)


def _is_dead(worker: str) -> bool:
    host, _, rest = worker.rpartition(":")[0].rpartition(":")
    started = worker.rpartition(":")[2]
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        process = psutil.Process(int(rest))
        return f"{process.create_time():.2f}" != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


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
            Stage.objects.filter(pk=pk).update(due_at=None)
            runs.advance(run)


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
