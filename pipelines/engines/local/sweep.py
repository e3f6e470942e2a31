"""Outside the workers: find what is due, lost or forgotten, and set it going again. Every step is safe to repeat."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines import runs, wake
from pipelines.models import Attempt, Beat, Delivery, Environment, Run, Stage
from pipelines.runs.advance import advance_locked, lock, make_way, supersede, wake_next
from pipelines.runs.changes import Changes
from pipelines.snapshots import held_by
from pipelines.states import ENDED, Reason, State

from .commands import end_command_of
from .identity import ended_with_the_others, is_dead
from .intake import HELD_BY, HOLD

log = logging.getLogger(__name__)

QUARANTINE = 3  # workers that one attempt may take with it
STALLED = 8.0  # seconds for which ready work may lie untouched while a worker is free


def sweep(*, judge_silence: bool = True) -> None:
    """One round. A failure in one part must not keep the others from being done.

    Without `judge_silence`, only workers that are known to be dead lose what they hold.
    """
    now = timezone.now()
    for part in (_dead_workers, *((_silent_workers,) if judge_silence else ()), _dropped_pushes, _due_stages,
                 _free_locks, _held_locks, _deadlocks, _superseded, _forgotten):  # fmt: skip
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
            if ended_with_the_others(worker):
                # A restart says nothing against the stage. A sweeper that was killed here has counted it already.
                claims = max(0, claims - 1)
                Attempt.objects.filter(pk=pk, fence=fence).update(claims=claims)
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


def _held_locks(now: datetime) -> None:
    """Stages that wait for a lock and name somebody who has given it to another run since."""
    waiting = Stage.objects.filter(state=State.WAITING, reason_code=Reason.LOCK).order_by("run__number")
    found = list(waiting.values_list("run", "run__pipeline", "environment", "reason", "run__trigger"))
    if not found:
        return
    held = Environment.objects.exclude(holder=None).values_list("pipeline", "name", "holder", "holder__number")
    holders = {(pipeline, name): (run, held_by(number, name)) for pipeline, name, run, number in held}
    for run, pipeline, name, words, trigger in found:
        holder, present = holders.get((pipeline, name), (run, ""))
        if holder != run and words != present:
            runs.advance(run)
        if holder != run and trigger == "rollback":
            runs.advance(holder)  # it makes room as soon as it only waits itself


def _superseded(now: datetime) -> None:
    """Runs that a newer one has replaced, although whoever was to end them died before it could."""
    newest = Environment.objects.filter(concurrency="newest").values_list("pipeline", "name", "holder")
    waiting = Stage.objects.filter(state=State.WAITING, run__stopping="").exclude(environment="").order_by()
    waits: dict[tuple[int, str], dict[int, int]] = {}
    for pipeline, name, run, number in waiting.values_list(
        "run__pipeline", "environment", "run", "run__number"
    ).distinct():
        waits.setdefault((pipeline, name), {})[run] = number
    for pipeline, name, holder in newest if waits else ():
        older = {run: number for run, number in waits.get((pipeline, name), {}).items() if run != holder}
        if older and (newer := _newest_in(pipeline, name, min(older.values()))):
            for run in (run for run, number in older.items() if number < newer.number):
                supersede(run, by=newer)


def _newest_in(pipeline: int, environment: str, number: int) -> Run | None:
    """The newest run after `number` that has come as far as this environment."""
    there = Stage.objects.filter(run__pipeline=pipeline, run__number__gt=number, environment=environment)
    reached = there.filter(Q(state=State.WAITING) | Q(started_at__isnull=False))
    return Run.objects.filter(pk__in=reached.values("run")).order_by("-number").first()


def _lose(pk: int, fence: int, claims: int, why: str) -> None:
    try:
        if claims >= QUARANTINE:
            words = f"quarantined: {claims} workers were lost while they worked on it; have a look before you retry it"
            runs.lost(pk, fence, words, quarantine=True)
            # Nobody follows it any more. On another machine, it ends when somebody retries the stage.
            end_command_of(settings.HOME, Attempt.objects.values_list("key", flat=True).get(pk=pk))
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
        due, Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"), since__lte=old, run__engine="local"
    ).count()
    pushes = Delivery.objects.filter(Q(not_before=None, at__lte=old) | Q(not_before__lte=now), open=True).count()
    if ready + pushes:
        wake.workers(ready + pushes)


def is_stalled(now: datetime | None = None) -> bool:
    """Whether ready work lies untouched, although a worker should be free and none takes anything: then the cluster has
    to be restarted."""
    now = now or timezone.now()
    old = now - timedelta(seconds=STALLED)
    due = Q(due_at=None) | Q(due_at__lte=old)
    untouched = Stage.objects.filter(
        due, Q(state=State.QUEUED) | Q(state=State.UNKNOWN, reason_code="lost"), since__lte=old, run__engine="local"
    ).exists()
    untouched = (
        untouched
        or Delivery.objects.filter(Q(not_before=None, at__lte=old) | Q(not_before__lte=old), open=True).exists()
    )
    busy = Attempt.objects.filter(open=True, lease_until__gt=now).count()
    return untouched and busy < settings.WORKERS and not _has_taken(old)


def _has_taken(since: datetime) -> bool:
    """Whether workers have taken something since. Then they have not stalled, however much waits for its turn."""
    attempts = Attempt.objects.filter(stage__run__engine="local").order_by("-id")
    last = attempts.values_list("started_at", flat=True).first()
    return (last is not None and last > since) or Delivery.objects.filter(not_before__gt=since + HOLD).exists()
