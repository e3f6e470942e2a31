"""Doing one claimed attempt: hand its spec to the executor, and report what the executor yields.

The same for a worker of this installation and for a pod of a cluster: a `Desk` takes the reports, whether it writes
them into the database or sends them to whoever does.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pipelines.executors import base, registry

log = logging.getLogger(__name__)

FLUSH = 0.15  # seconds that output may wait for more
FLUSH_SIZE = 32_768  # characters
OVERTIME = 5.0  # seconds
# What a disk says that has no room, or takes nothing for another reason that passes.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
LOOK = 0.5  # seconds between looks at what people want of a running stage


class LeaseLost(BaseException):
    """Another worker goes on with this attempt. Not an Exception, so that no executor takes it for a fault of its
    work: what runs must be left running for the other one to join."""


class NotNow(Exception):
    """A report cannot be taken at this moment; it is kept, and made again."""


@dataclass(frozen=True, slots=True)
class Task:
    """An attempt in somebody's hands. `probe`: it was lost before, so find out first what became of it. `planning`:
    its plan is to be made. `stop` is why it shall be stopped, "" while it shall not."""

    key: str
    number: int
    planning: bool
    probe: bool
    started_at: datetime
    stop: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What people want of a stage that runs."""

    stop: bool
    commands: tuple[str, ...]


class Desk(Protocol):
    """Takes the reports about one attempt. Each waits until it is taken, however long that is impossible. Raises
    LeaseLost once the attempt is somebody else's."""

    lease: float  # seconds after which the attempt may be somebody else's, unless `beat` was called
    heartbeat: float  # seconds between two beats

    def spec(self) -> base.StageSpec: ...

    def given_up(self) -> Sequence[str]:
        """The keys of earlier attempts that nobody saw end."""

    def wrote(self, text: str) -> None: ...

    def try_to_write(self, text: str) -> None:
        """As `wrote`, at once. Raises NotNow."""

    def progressed(self, item: base.Progress) -> None: ...

    def produced(self, artifact: base.Artifact) -> None: ...

    def planned(self, plan: base.Plan) -> None: ...

    def outcome(self, result: base.Outcome) -> None: ...

    def unknowable(self, reason: str) -> None: ...

    def beat(self) -> None:
        """Say that the attempt is in good hands. Raises NotNow."""

    def wait_to_beat(self) -> None:
        """As `beat`, however long it takes."""

    def look(self) -> Wanted:
        """Raises NotNow."""

    def missed(self) -> None:
        """The second thread could not do what it is there for; the desk may let go of what broke."""


def carry_out(task: Task, desk: Desk, workplace: base.Workplace) -> None:
    """Plan or do the stage. Whatever happens, it is reported, or somebody else takes over."""
    with Watch(task, desk) as watch:
        try:
            _carry_out(task, desk, watch, workplace)
        except LeaseLost as gone:
            log.warning("%s", gone)
        except base.EngineAwayError as away:
            _report_end(desk, away.outcome())
        except Exception:
            log.exception("The machinery broke on %s", task.key)
            _report_end(desk, base.Outcome("error", "the machinery broke; the worker's log has the details"))


def _report_end(desk: Desk, result: base.Outcome) -> None:
    try:
        desk.outcome(result)
    except LeaseLost as gone:
        log.warning("%s", gone)


def _carry_out(task: Task, desk: Desk, watch: Watch, workplace: base.Workplace) -> None:
    spec = desk.spec()
    executor = registry.make(spec.kind, workplace)
    if task.stop:
        _stop(executor, spec, task.key, watch)
        return watch.outcome(base.Outcome("canceled", "stopped"))
    if task.planning:
        return _plan(desk, executor, spec)
    anew = False
    if task.probe:
        found = executor.probe(spec, task.key)
        if found.state == "unknown":
            return desk.unknowable(found.reason)
        if found.state == "away":
            return watch.outcome(base.Outcome("engine", found.reason))
        anew = found.state != "running"  # while nobody worked on it, its time stood still
        watch.log(base.Log(f"[contact was lost; the work is {found.state.replace('_', ' ')}]\n"))
    _end_what_was_given_up(task, desk, executor, spec, watch)
    watch.limit(spec.timeout, anew=anew)
    for item in executor.start(spec, task.key, watch):
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


def _end_what_was_given_up(task: Task, desk: Desk, executor: base.Executor, spec: base.StageSpec, watch: Watch) -> None:
    """Work outlives its worker: what an earlier attempt began, that nobody saw end, must not go on beside this one."""
    if task.number > 1:
        for key in desk.given_up():
            _stop(executor, spec, key, watch)


def _plan(desk: Desk, executor: base.Executor, spec: base.StageSpec) -> None:
    try:
        plan = executor.plan(spec)
    except base.PlanError as error:
        return desk.outcome(base.Outcome("error", f"its plan could not be made: {error}"))
    return desk.planned(plan)


class Watch:
    """An attempt while it is worked on: keeps its lease, tells the executor what people want, batches its output."""

    def __init__(self, task: Task, desk: Desk) -> None:
        self.task, self.desk = task, desk
        self.lost = False
        self._stop = bool(task.stop)
        self._commands = task.commands
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
        # This process may have been stopped, or the desk away, for longer than the lease: ask before going on.
        if time.monotonic() - self._held_at > self.desk.lease:
            self.desk.wait_to_beat()
            self._held_at = time.monotonic()
        if self.lost:
            raise LeaseLost(f"The lease of {self.task.key} was lost; another worker goes on with it.")
        return self._stop or self.overdue()

    def commands(self) -> Sequence[str]:
        return self._commands

    def limit(self, timeout: float | None, *, anew: bool) -> None:
        """End the work a little after its timeout, counted from the attempt's first start, or from now if the work
        begins `anew`: executors that can end it to the second do so themselves."""
        if timeout:
            self._timeout = timeout
            began = datetime.now(UTC) if anew else self.task.started_at
            self._deadline = began + timedelta(seconds=timeout + OVERTIME)

    def overdue(self) -> bool:
        return self._deadline is not None and datetime.now(UTC) > self._deadline

    # What is reported.

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
                self.desk.wrote(text)
            for receipt in receipts:
                receipt.stored()

    def try_to_flush(self) -> None:
        """The same from the other thread, which must hold nothing up: what cannot be written now is kept."""
        if not self._text or not self._writing.acquire(blocking=False):
            return
        text, receipts = self._collected()
        try:
            self.desk.try_to_write(text)
            for receipt in receipts:
                receipt.stored()
        except NotNow:
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
        self.desk.progressed(item)

    def produced(self, item: base.Produced) -> None:
        self.flush()
        self.desk.produced(item.artifact)

    def outcome(self, item: base.Outcome) -> None:
        self.flush()
        if item.state == "canceled" and not self._stop and self.overdue():
            item = base.Outcome("failed", f"took longer than {self._timeout:g} s")
        self.desk.outcome(item)

    # What happens beside it, on the pulse thread.

    def beat(self) -> None:
        """Extend the lease, or find that it was taken."""
        try:
            self.desk.beat()
        except LeaseLost:
            self.lost = True
        self._held_at = time.monotonic()

    def look(self) -> None:
        """See whether people want something of this stage."""
        try:
            wanted = self.desk.look()
        except LeaseLost:
            self.lost = True
            return
        self._stop, self._commands = wanted.stop, wanted.commands

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
                if now - beaten >= watch.desk.heartbeat:
                    beaten = now
                    watch.beat()
            except LeaseLost:
                watch.lost = True
            except NotNow as error:
                log.warning("The pulse of %s missed a beat: %s", watch.task.key, error)
                watch.desk.missed()
            except Exception:
                log.exception("The pulse of %s missed a beat", watch.task.key)
                watch.desk.missed()


_pulses: dict[int, Pulse] = {}


def _pulse() -> Pulse:
    """This process's pulse; a fork starts its own."""
    pid = os.getpid()
    if pid not in _pulses:
        _pulses.clear()
        _pulses[pid] = Pulse()
    return _pulses[pid]
