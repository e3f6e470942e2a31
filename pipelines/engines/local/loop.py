"""The sweeper's process: a round a second, and the watch over the workers."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import threading
import time

from django.conf import settings
from django.db import connections
from django.utils import timezone

from pipelines import triggers
from pipelines.engines import environments
from pipelines.engines.argo.keeper import Keeper
from pipelines.engines.argo.watching import Watching
from pipelines.performance import rollup

from . import probes, sweep, trim
from .identity import workers_file

log = logging.getLogger(__name__)

ROUND = 1.0  # seconds
RETIRE = 60.0  # seconds between two looks at what clusters keep beside a release
AFTER_A_RESTART = 10.0  # seconds in which the workers are not judged again


class Loop:
    def __init__(self) -> None:
        self._stop = threading.Event()
        self._judge_after = time.monotonic() + AFTER_A_RESTART
        self._last_good_round = self._trust_silence_after = 0.0
        self._trims = trim.Turns()
        self._folds = rollup.Turns()
        self._probes = probes.Turns()
        self._retiring: threading.Thread | None = None
        self._retire_after = time.monotonic() + RETIRE

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        Watching().start()
        Keeper().start()
        while not self._stop.wait(ROUND):
            self.round()

    def round(self) -> None:
        """Everything once. A database that is away for a while ends the round, not the process."""
        try:
            sweep.sweep(judge_silence=self._can_judge_silence())
            self._last_good_round = time.time()
            now = timezone.now()
            triggers.poll(now)
            triggers.schedule(now)
            self._trims.take(now)
            self._folds.take(now)
            self._probes.take(now)
            self._retire()
            if time.monotonic() > self._judge_after and sweep.is_stalled():
                self._judge_after = time.monotonic() + AFTER_A_RESTART
                restart_workers()
        except Exception:
            log.exception("This round of the sweeper failed; the next one comes in %s s", ROUND)
            connections.close_all()

    def _retire(self) -> None:
        """On a thread of its own: a cluster may take its time to answer, or not answer."""
        if time.monotonic() < self._retire_after or (self._retiring and self._retiring.is_alive()):
            return
        self._retire_after = time.monotonic() + RETIRE
        self._retiring = threading.Thread(target=_retire, name="retire", daemon=True)
        self._retiring.start()

    def _can_judge_silence(self) -> bool:
        """While this process could not look, because the database was away, the machine slept or nobody ran it, the
        workers may have had no chance either. They get the time of a lease to say that they are there."""
        # By the clock on the wall, which goes on while a machine sleeps, and by which leases end.
        if abs(time.time() - self._last_good_round) > settings.LEASE / 2:
            self._trust_silence_after = time.monotonic() + settings.LEASE
        return time.monotonic() > self._trust_silence_after


def _retire() -> None:
    try:
        for gone in environments.retire():
            log.info("Taken away, since its time is over: %s", gone)
    except (OSError, ValueError) as error:
        log.warning("What clusters keep beside their releases could not be looked at: %s", error)


def announce_workers() -> object:
    """Called by the workers' main process: hold on to what it returns, it shows that the process lives."""
    file = workers_file().open("a+")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid()}))
    file.flush()
    return file


def restart_workers() -> None:
    """End a cluster that has stalled. Its processes die with its main one, and the supervisor starts it anew. One that
    has only just started is left alone."""
    try:
        with workers_file().open("r+") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < AFTER_A_RESTART:
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = json.loads(file.read())["pid"]
                log.warning("Ready work lies untouched: restarting the workers (process %s)", pid)
                os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        log.warning("Ready work lies untouched and no workers run on this machine")
