"""Starts web, workers and sweeper, restarts what dies, and stops all of it again.

Its children end when it does, however it ends. What the environments run is looked after by a keeper of its own and
outlives all of them, until `stop` ends that as well.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipelines.engines import environments
from pipelines.engines.local.commands import end_commands
from portal import settings

GRACE = 15.0  # seconds to finish after SIGTERM, for a restart
LAST_GRACE = 3.0  # the same at the end: people wait for it, and what is cut off is joined at the next start
STEADY = 10.0  # seconds after which a process counts as started well
KEEPER_LOOK = 3.0  # seconds between two looks at what keeps the environments
AFTER_A_FAILURE = 2.0  # seconds until the next try to start what could not be started at all
SLOWEST = 5.0  # seconds between two starts of something that keeps dying


class StartError(Exception):
    """It cannot start; the message says what to do."""


@dataclass(slots=True)
class Child:
    """One of the processes, and what is known of its life."""

    name: str
    argv: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    deaths: int = 0
    kill_at: float | None = None  # when it was told to end, how long it may still take

    def start(self, log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.argv,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()),
            )
        self.started = time.monotonic()


def _end_with(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def in_the_child() -> None:
        pr_set_pdeathsig = 1
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above could take effect
            os._exit(1)

    return in_the_child


def commands() -> dict[str, list[str]]:
    """What is started, by name: argument lists."""
    python = sys.executable
    manage = str(settings.BASE_DIR / "manage.py")
    web = [
        python, "-m", "uvicorn", "portal.asgi:application",
        "--host", settings.LISTEN, "--port", str(settings.PORT_BASE),
        "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5",
        # Small frames for many sockets: compressing each costs more than it saves.
        "--ws-per-message-deflate", "false",
        # Without a proxy anybody could name an address, and limits go by it.
        "--proxy-headers" if settings.SECURE_PROXY_SSL_HEADER else "--no-proxy-headers",
    ]  # fmt: skip
    return {
        "web": web,
        "workers": [python, manage, "workers"],
        "sweeper": [python, manage, "sweeper"],
    }


def run_folder() -> Path:
    folder = settings.RUN_DIR
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_ports() -> None:
    """Raises StartError naming the port that somebody else has, and what it is wanted for."""
    wanted = {"the portal": settings.PORT_BASE}
    if not environments.are_kept(settings.HOME):
        wanted |= settings.ENVIRONMENT_PORTS
    for what, port in wanted.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.LISTEN, port))
            except OSError as error:
                raise StartError(
                    f"Port {port} on {settings.LISTEN}, wanted for {what}, cannot be used: {error.strerror}. Stop what "
                    "uses it, or set BURGER_PORT_BASE to another number (the portal takes it, the environments the "
                    "next ones)."
                ) from None


@dataclass
class Supervisor:
    """Runs until it is told to stop. `ready` is called once the portal answers, `ending` while the children end."""

    ready: Callable[[], None] = lambda: None
    ending: Callable[[], None] = lambda: None
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    hurry: bool = False
    restarting: bool = False
    _lock: IO[str] | None = None
    _look_at_keeper: float = 0.0

    def run(self) -> None:
        self._take_lock()
        check_ports()
        environments.configure(settings.HOME, settings.ENVIRONMENT_PORTS, settings.LISTEN)
        logs = settings.HOME / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.children = [Child(name, argv) for name, argv in commands().items()]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._restart)
        announced = False
        while not self.stopping:
            self._keep_going(logs)
            self._keep_environments()
            if not announced and answers():
                announced = True
                self.ready()
            if self.restarting:
                self.restarting = False
                self._begin_anew()
            time.sleep(0.2)
        self._end_children()
        if self._lock is not None:
            self._lock.close()

    def _take_lock(self) -> None:
        """One supervisor for each home. Raises StartError."""
        path = run_folder() / "supervisor.lock"
        self._lock = path.open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"Burger Stack runs already for {settings.HOME} (see {settings.PUBLIC_URL}); stop it with: make down"
            ) from None
        self._lock.truncate(0)
        self._lock.write(json.dumps({"pid": os.getpid(), "url": settings.PUBLIC_URL}))
        self._lock.flush()

    def _keep_environments(self) -> None:
        """What was rolled out goes on, or begins again where everything had been stopped."""
        now = time.monotonic()
        if now < self._look_at_keeper or not any(settings.HOME.glob("environments/*/desired.json")):
            return
        self._look_at_keeper = now + KEEPER_LOOK
        try:
            environments.keep(settings.HOME, settings.ENVIRONMENT_PORTS, settings.LISTEN)
        except Exception as error:  # the portal goes on, and tries again
            print(f"What was rolled out cannot be kept going: {error}", file=sys.stderr, flush=True)

    def _keep_going(self, logs: Path) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                if child.kill_at is not None and now > child.kill_at:
                    os.killpg(child.process.pid, signal.SIGKILL)
                continue
            if child.process is not None:
                child.deaths = 0 if now - child.started > STEADY else child.deaths + 1
                child.process = None
                child.not_before = now + min(SLOWEST, 0.2 * 2**child.deaths) if child.deaths else now
            if now >= child.not_before:
                child.kill_at = None
                try:
                    child.start(logs / f"{child.name}.log")
                except (OSError, subprocess.SubprocessError) as error:  # no space, no memory, a read-only disk
                    print(f"{child.name} cannot be started, trying again: {error}", file=sys.stderr, flush=True)
                    child.not_before = now + AFTER_A_FAILURE

    def _begin_anew(self) -> None:
        """Tell each to end; each is started again as soon as it has, whatever the others still finish."""
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
                child.kill_at = time.monotonic() + GRACE

    def _end_children(self) -> None:
        """SIGTERM to the main processes only: the workers' own main process drains its workers. Then no mercy."""
        going = {child.name: child.process for child in self.children if child.process}
        for process in going.values():
            process.terminate()
        deadline = time.monotonic() + LAST_GRACE
        print(
            f"Stopping. Stages under way have {LAST_GRACE:g} s to reach their end. The next start takes up the others; "
            "what may not be done twice then waits for somebody to look. Ctrl-C again stops at once.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        beside = threading.Thread(target=self.ending)
        beside.start()
        while left := [name for name, process in going.items() if process.poll() is None]:
            if self.hurry or time.monotonic() > deadline:
                print(f"Ending {', '.join(left)} now.", file=sys.stderr, flush=True)
                for name in left:
                    os.killpg(going[name].pid, signal.SIGKILL)
                    going[name].wait()
            time.sleep(0.02)
        beside.join()

    def _stop(self, *_: object) -> None:
        self.hurry = self.stopping
        self.stopping = True

    def _restart(self, *_: object) -> None:
        self.restarting = True


def answers() -> bool:
    """Whether something takes connections where the portal should be."""
    host = "127.0.0.1" if settings.LISTEN in ("0.0.0.0", "::") else settings.LISTEN  # noqa: S104 compared only
    try:
        with socket.create_connection((host, settings.PORT_BASE), timeout=1):
            return True
    except OSError:
        return False


def running() -> int | None:
    """The process id of this home's supervisor, None if none runs."""
    found = _found()
    return int(found["pid"]) if found else None


def check_address() -> None:
    """Raises StartError if this home is served already, at another address than these settings say."""
    found = _found()
    if found and found.get("url", settings.PUBLIC_URL) != settings.PUBLIC_URL:
        raise StartError(
            f"Burger Stack runs already for {settings.HOME}, at {found['url']}; the settings now say "
            f"{settings.PUBLIC_URL}. Leave BURGER_PORT_BASE and the others as they were, or stop it with: make down"
        )


def _found() -> dict[str, Any] | None:
    """What this home's supervisor has written into its lock, None if none runs."""
    path = settings.RUN_DIR / "supervisor.lock"
    try:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads(file.read()))
    except (FileNotFoundError, ValueError):
        pass
    return None


def stop() -> bool:
    """Stop this home's supervisor with its children, then what the environments run. False if nothing ran."""
    pid = running()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE + 5
        while running() is not None and time.monotonic() < deadline:
            time.sleep(0.1)
    end_commands(settings.HOME)
    return environments.stop(settings.HOME) or pid is not None
