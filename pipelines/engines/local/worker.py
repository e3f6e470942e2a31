"""Doing one claimed attempt: hand its spec to the executor, and report what the executor yields."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from pipelines import runs, wake
from pipelines.engines import measurements
from pipelines.executors import base, registry
from pipelines.models import Attempt
from pipelines.outages import is_outage
from pipelines.runs.record import unknowable

from .claim import Claimed, Stay
from .spec import spec_of

log = logging.getLogger(__name__)

T = TypeVar("T")
FLUSH = 0.15  # seconds that output may wait for more
FLUSH_SIZE = 32_768  # characters
OVERTIME = 5.0  # seconds
# What a disk says that has no room, or takes nothing for another reason that passes.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
LOOK = 0.5  # seconds between looks at what people want of a running stage


class LeaseLost(BaseException):
    """Another worker goes on with this attempt. Not an Exception, so that no executor takes it for a fault of its
    work: what runs must be left running for the other one to join."""


def carry_out(claimed: Claimed, stay: Stay) -> Claimed | None:
    """Plan or do the stage. Whatever happens, it is reported, or the lease runs out and the sweeper takes over.

    Returns the next stage of the run, if one was claimed when the end of this one was recorded."""
    with wake.working(), Watch(claimed, stay) as watch:
        try:
            _carry_out(claimed, watch)
        except (runs.StaleResult, LeaseLost) as gone:
            log.warning("%s", gone)
        except base.EngineAwayError as away:
            _report_end(claimed, base.Outcome("engine", str(away)))
        except Exception:
            log.exception("The machinery broke on %s", claimed.key)
            _report_end(claimed, base.Outcome("error", "the machinery broke; the worker's log has the details"))
    return watch.next


def _report_end(claimed: Claimed, result: base.Outcome) -> None:
    try:
        persistently(lambda: runs.outcome(claimed.attempt, claimed.fence, result))
    except runs.StaleResult as gone:
        log.warning("%s", gone)


def _carry_out(claimed: Claimed, watch: Watch) -> None:
    spec = persistently(lambda: spec_of(claimed))
    executor = registry.make(spec.kind, registry.workplace(lambda name: measurements.of(name, persistently)))
    if claimed.stage.stop_requested:
        _stop(executor, spec, claimed.key, watch)
        return watch.outcome(base.Outcome("canceled", "stopped"))
    if claimed.phase == Attempt.Phase.PLAN:
        return _plan(claimed, executor, spec)
    anew = False
    if claimed.probe:
        found = executor.probe(spec, claimed.key)
        if found.state == "unknown":
            return persistently(lambda: unknowable(claimed.attempt, claimed.fence, found.reason))
        if found.state == "away":
            return watch.outcome(base.Outcome("engine", found.reason))
        anew = found.state != "running"  # while nobody worked on it, its time stood still
        watch.log(base.Log(f"[contact was lost; the work is {found.state.replace('_', ' ')}]\n"))
    _end_what_was_given_up(claimed, executor, spec, watch)
    watch.limit(spec.timeout, anew=anew)
    for item in executor.start(spec, claimed.key, watch):
        if isinstance(item, base.Outcome):
            return watch.outcome(item)
        _REPORT[type(item)](watch, item)
    return watch.outcome(base.Outcome("error", f"the executor {spec.kind} ended without saying how"))


def _stop(executor: base.Executor, spec: base.StageSpec, key: str, watch: Watch) -> None:
    """Stop work, however long the disk refuses to take the word for it: it would go on beside what comes next."""
    delay = 0.2
    while True:
        try:
            return executor.cancel(spec, key)
        except OSError as error:
            if error.errno not in FULL:
                raise
            log.warning("%s cannot be stopped yet, trying again in %.1f s: %s", key, delay, error)
            watch.stopping()  # raises once another worker has the attempt
            time.sleep(delay)
            delay = min(5.0, delay * 2)


def _end_what_was_given_up(claimed: Claimed, executor: base.Executor, spec: base.StageSpec, watch: Watch) -> None:
    """Work outlives its worker: what an earlier attempt began, that nobody saw end, must not go on beside this one."""
    if claimed.number > 1:
        given_up = Attempt.objects.filter(stage=claimed.stage.pk, open=False, data__given_up=True)
        for key in persistently(lambda: list(given_up.values_list("key", flat=True))):
            _stop(executor, spec, key, watch)


def _plan(claimed: Claimed, executor: base.Executor, spec: base.StageSpec) -> None:
    try:
        plan = executor.plan(spec)
    except base.PlanError as error:
        result = base.Outcome("error", f"its plan could not be made: {error}")
        return persistently(lambda: runs.outcome(claimed.attempt, claimed.fence, result))
    return persistently(lambda: runs.planned(claimed.attempt, claimed.fence, plan))


def persistently(report: Callable[[], T]) -> T:
    """Report, again and again while the database cannot take it: it may be locked, full or read-only for now."""
    delay = 0.2
    while True:
        try:
            return report()
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            log.warning("The database cannot be written, trying again in %.1f s: %s", delay, error)
            connections.close_all()
            time.sleep(delay)
            delay = min(5.0, delay * 2)


class Watch:
    """An attempt while it is worked on: keeps its lease, tells the executor what people want, batches its output."""

    def __init__(self, claimed: Claimed, stay: Stay) -> None:
        self.claimed = claimed
        self.next: Claimed | None = None
        self._stay = stay
        self.lost = False
        self._stop = bool(claimed.stage.stop_requested)
        self._commands: tuple[str, ...] = tuple(claimed.stage.commands)
        self._timeout = 0.0
        self._deadline: datetime | None = None
        self._text: list[str] = []
        self._receipts: list[base.Receipt] = []
        self._size = 0
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._held_at = time.monotonic()

    # What the executor sees (base.Control).

    def stopping(self) -> bool:
        # This process may have been stopped, or the database away, for longer than the lease: ask before going on.
        if time.monotonic() - self._held_at > settings.LEASE:
            persistently(self.beat)
        if self.lost:
            raise LeaseLost(f"The lease of {self.claimed.key} was lost; another worker goes on with it.")
        return self._stop or self.overdue()

    def commands(self) -> Sequence[str]:
        return self._commands

    def limit(self, timeout: float | None, *, anew: bool) -> None:
        """End the work a little after its timeout, counted from the attempt's first start, or from now if the work
        begins `anew`: executors that can end it to the second do so themselves."""
        if timeout:
            self._timeout = timeout
            began = timezone.now() if anew else self.claimed.started_at
            self._deadline = began + timedelta(seconds=timeout + OVERTIME)

    def overdue(self) -> bool:
        return self._deadline is not None and timezone.now() > self._deadline

    # What the worker reports.

    def log(self, item: base.Log) -> None:
        if not item.text:
            return self.flush()
        with self._guard:
            self._text.append(item.text)
            self._size += len(item.text)
            if item.receipt:
                item.receipt.keep()
                self._receipts.append(item.receipt)
        return self.flush() if self._size > FLUSH_SIZE else None

    def flush(self) -> None:
        """Write what has been collected. Once it returns, nothing is on its way on the other thread either: output
        that came after the outcome would be refused."""
        with self._writing:
            text, receipts = self._collected()
            if text:
                persistently(lambda: runs.wrote(self.claimed.attempt, self.claimed.fence, text))
            for receipt in receipts:
                receipt.stored()

    def try_to_flush(self) -> None:
        """The same from the other thread, which must hold nothing up: what cannot be written now is kept."""
        if not self._text or not self._writing.acquire(blocking=False):
            return
        text, receipts = self._collected()
        try:
            runs.wrote(self.claimed.attempt, self.claimed.fence, text)
            for receipt in receipts:
                receipt.stored()
        except (DatabaseError, InterfaceError):
            with self._guard:
                self._text.insert(0, text)
                self._receipts[:0] = receipts
                self._size += len(text)
            raise
        finally:
            self._writing.release()

    def _collected(self) -> tuple[str, list[base.Receipt]]:
        with self._guard:
            text, self._text, self._size = "".join(self._text), [], 0
            receipts, self._receipts = self._receipts, []
        return text, receipts

    def progress(self, item: base.Progress) -> None:
        self.flush()
        persistently(lambda: runs.progressed(self.claimed.attempt, self.claimed.fence, item))

    def produced(self, item: base.Produced) -> None:
        self.flush()
        persistently(lambda: runs.produced(self.claimed.attempt, self.claimed.fence, item.artifact))

    def outcome(self, item: base.Outcome) -> None:
        self.flush()
        if item.state == "canceled" and not self._stop and self.overdue():
            item = base.Outcome("failed", f"took longer than {self._timeout:g} s")
        persistently(lambda: runs.outcome(self.claimed.attempt, self.claimed.fence, item, self._stay))
        self.next = self._stay.committed()

    # What happens beside it, on the pulse thread.

    def beat(self) -> None:
        """Extend the lease, or find that it was taken."""
        now = timezone.now()
        kept = Attempt.objects.filter(pk=self.claimed.attempt, fence=self.claimed.fence, open=True).update(
            heartbeat_at=now, lease_until=now + timedelta(seconds=settings.LEASE)
        )
        self.lost = self.lost or not kept
        self._held_at = time.monotonic()

    def look(self) -> None:
        """See whether people want something of this stage."""
        row = (
            Attempt.objects.filter(pk=self.claimed.attempt, fence=self.claimed.fence, open=True)
            .values("stage__stop_requested", "stage__commands")
            .first()
        )
        if row is None:
            self.lost = True
            return
        self._stop = bool(row["stage__stop_requested"])
        self._commands = tuple(row["stage__commands"])

    def __enter__(self) -> Watch:
        _pulse().watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        _pulse().watch(None)


_REPORT: dict[type, Callable[[Watch, Any], None]] = {
    base.Log: Watch.log,
    base.Progress: Watch.progress,
    base.Produced: Watch.produced,
}


class Pulse:
    """The worker's second thread, which keeps the present attempt's lease while the first one is busy."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._there = threading.Event()
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def watch(self, watch: Watch | None) -> None:
        self._watch = watch
        if watch is None:
            self._there.clear()
        else:
            self._there.set()

    def _run(self) -> None:
        looked = beaten = time.monotonic()
        while True:
            self._there.wait()
            time.sleep(FLUSH)
            watch, now = self._watch, time.monotonic()
            if watch is None:
                looked = beaten = now
                continue
            try:
                watch.try_to_flush()
                if now - looked >= LOOK:
                    looked = now
                    watch.look()
                if now - beaten >= settings.HEARTBEAT:
                    beaten = now
                    watch.beat()
            except runs.StaleResult:
                watch.lost = True
            except Exception:
                log.exception("The pulse of %s missed a beat", watch.claimed.key)
                connections.close_all()


_pulses: dict[int, Pulse] = {}


def _pulse() -> Pulse:
    """This process's pulse; a fork starts its own."""
    pid = os.getpid()
    if pid not in _pulses:
        _pulses.clear()
        _pulses[pid] = Pulse()
    return _pulses[pid]
