"""The keeper: one daemon for an installation that keeps its environments as desired.

    python -m pipelines.executors.rollout.local.keeper --home HOME [--detach]

It may die at any moment: replicas and router go on serving, and the next keeper finds them by what they
carry in their environment, and takes them over. SIGTERM ends it and, gracefully, all that it keeps; SIGHUP
ends it alone.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.environment import BUSY, IDLE, EnvironmentKeeper
from pipelines.executors.rollout.local.health import Checker, Result
from pipelines.executors.rollout.local.place import Place, doorbell, read_json, write_json
from pipelines.executors.rollout.local.traefik import IDENTITY, LARGEST_LOG, Traefik
from pipelines.executors.store import Store

log = logging.getLogger("keeper")


def mark_of(home: Path) -> str:
    """What the processes of this installation carry, so that two on one machine never touch each other's."""
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]


def settings_file(home: Path) -> Path:
    return home / "run" / "keeper.settings.json"


def pid_file(home: Path) -> Path:
    return home / "run" / "keeper.pid"


@contextmanager
def sole_keeper(home: Path) -> Iterator[TextIO | None]:
    """The lock that makes a process the keeper of `home`; None when another one has it."""
    (home / "run").mkdir(parents=True, exist_ok=True)
    with (home / "run" / "keeper.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


class Keeper:
    """Made by whoever holds the lock of `sole_keeper`. `run` returns after SIGTERM or SIGHUP."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.mark = mark_of(home)
        self.checker = Checker()
        self.router = Traefik(self.home, self.mark)
        self.environments: dict[str, EnvironmentKeeper] = {}
        self.store = Store(self.home)
        self.asked_to_end: signal.Signals | None = None
        self.events = selectors.DefaultSelector()
        self.settings: dict[str, Any] = {}
        self.settings_stamp = 0
        self._adopt()

    def run(self) -> None:
        self._listen()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        log.info("keeping %s as process %s", self.home, os.getpid())
        while self.asked_to_end is None:
            self._wait(self.tick())
        if self.asked_to_end != signal.SIGHUP:
            self.stop()
        log.info("ended by %s", self.asked_to_end.name)
        self.checker.close()

    @property
    def busy(self) -> bool:
        """Something runs under it."""
        replicas = (one for place in self.environments.values() for one in place.replicas.values())
        return self.router.running or any(processes.alive(one.pid, one.started) for one in replicas)

    def tick(self) -> float:
        """One look at everything; returns the seconds until the next."""
        self._read_settings()
        results = self.checker.results()
        delay = IDLE
        for name in self._names():
            delay = min(delay, self._tick_one(name, results))
        ports = {name: int(port) for name, port in self.settings.get("ports", {}).items()}
        if ports:
            before = self.router.pid
            delay = min(delay, self.router.tick(ports, self.settings.get("listen", "127.0.0.1"), time.time()))
            if self.router.pid != before:
                self._watch(self.router.pid)
                log.info("router runs as process %s %s", self.router.pid, self.router.problem)
        processes.limit_log(self.home / "run" / "keeper.log", LARGEST_LOG)
        return delay

    def stop(self) -> None:
        """The router ends first, so that nobody is sent to a replica that ends."""
        self.router.stop()
        for environment in self.environments.values():
            environment.stop_all()

    def _tick_one(self, name: str, results: list[Result]) -> float:
        environment = self.environments.get(name) or self._meet(name)
        environment.hosts = self._hosts()
        environment.away = self._portal_and_own()
        environment.collector = self.settings.get("hosts", {}).get("collector", "")
        try:
            return environment.tick(results)
        except Exception:
            # One environment that cannot be kept must not take the others with it.
            log.exception("environment %s", name)
            return IDLE

    def _adopt(self) -> None:
        found: dict[str, tuple[int, int]] = {}
        for pid, since, identity, leads in processes.marked(self.mark):
            if leads:
                found[identity] = (pid, since)
        self.router.adopt(found)
        self._watch(self.router.pid)
        known = {IDENTITY} if self.router.running else set()
        for name in self._names():
            known |= self._meet(name).adopt(found)
        for identity, (pid, since) in found.items():
            if identity not in known:
                log.warning("ending %s (process %s), which nobody knows", identity, pid)
                processes.send(pid, since, signal.SIGKILL, group=True)

    def _meet(self, name: str) -> EnvironmentKeeper:
        self.environments[name] = EnvironmentKeeper(
            Place(self.home, name), self.store, self.router, self.checker, self.mark, self._watch
        )
        return self.environments[name]

    def _names(self) -> list[str]:
        folders = self.home / "environments"
        return sorted(path.parent.name for path in folders.glob("*/desired.json"))

    def _hosts(self) -> str:
        listen = self.settings.get("listen", "127.0.0.1")
        known = ["127.0.0.1", "localhost", "[::1]"]
        more = {listen, self._portal_and_own()[1]} - {"0.0.0.0", "::", "", *known}  # noqa: S104
        return ",".join([*known, *sorted(more)])

    def _portal_and_own(self) -> tuple[str, str]:
        hosts = self.settings.get("hosts", {})
        return hosts.get("portal", ""), hosts.get("environments", "")

    def _read_settings(self) -> None:
        with suppress(OSError):
            stamp = settings_file(self.home).stat().st_mtime_ns
            if stamp != self.settings_stamp:
                self.settings = read_json(settings_file(self.home)) or {}
                self.settings_stamp = stamp

    # --- waiting ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        bell = doorbell(self.home)
        bell.unlink(missing_ok=True)
        os.mkfifo(bell, 0o600)
        # Read and write: with a writer of its own the pipe never reports the end of the last visitor.
        self.events.register(os.open(bell, os.O_RDWR | os.O_NONBLOCK), selectors.EVENT_READ, "bell")
        self.events.register(self.checker.wake, selectors.EVENT_READ, "bell")
        wake, ring = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(ring, False)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        self.events.register(wake, selectors.EVENT_READ, "bell")

    def _watch(self, pid: int) -> None:
        """Be woken when this process ends, whoever started it."""
        with suppress(OSError):
            self.events.register(os.pidfd_open(pid), selectors.EVENT_READ, "death")

    def _wait(self, seconds: float) -> None:
        for key, _ in self.events.select(max(seconds, BUSY / 10)):
            if key.data == "death":
                self.events.unregister(key.fd)
                os.close(key.fd)
            else:
                with suppress(BlockingIOError):
                    os.read(key.fd, 4096)

    def _end(self, number: int, _frame: object) -> None:
        self.asked_to_end = signal.Signals(number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="the state folder of the installation")
    parser.add_argument("--detach", action="store_true", help="return at once and go on in the background")
    options = parser.parse_args(arguments)
    if options.detach and os.fork():
        return 0
    if options.detach:
        os.setsid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with sole_keeper(options.home) as lock:
        if lock is None:
            log.info("%s has a keeper already", options.home)
            return 0
        write_json(pid_file(options.home), {"pid": os.getpid(), "started": processes.started(os.getpid())})
        Keeper(options.home).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
