"""A real installation in a home of its own: the supervisor with web, workers and sweeper, and ways to hurt it."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.api.site import git

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SUPERVISE = "import django; django.setup(); from portal.supervisor import Supervisor; Supervisor().run()"
RUN_ENDED = ("succeeded", "failed", "error", "canceled", "rejected")
_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    _libc.prctl(1, signal.SIGKILL)


def eventually(what: Callable[[], T], seconds: float = 30.0, why: Callable[[], object] = lambda: "") -> T:
    """The first true value of `what()`; fails with `why()` when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        assert time.monotonic() < deadline, f"nothing within {seconds} s: {why()}"
        time.sleep(0.05)


def environment(home: Path, port: int, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BURGER_")}
    return kept | {
        "BURGER_HOME": str(home),
        "BURGER_PORT_BASE": str(port),
        "BURGER_ENVIRONMENTS": "",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PYTHONPATH": str(ROOT),
        **more,
    }


def free_port(beside: int = 0) -> int:
    """A port that nobody listens on, as are the `beside` ones that follow it."""
    while True:
        with ExitStack() as held, suppress(OSError):
            port = 0
            for following in range(beside + 1):
                listener = held.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port and port + following))
                port = port or int(listener.getsockname()[1])
            return port


class Backstage:
    """`backstage.begin(text=...)` calls the act of that name in `backstage.py` and waits for its answer."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.backstage"],
            cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=_end_with_parent,
        )  # fmt: skip

    def tell(self, act: str, **arguments: Any) -> None:
        """Let it begin; `hear` waits for the answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([act, arguments]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the process backstage ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def __getattr__(self, act: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.tell(act, **arguments)
            return self.hear()

        return call

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Installation:
    """`tokens` by username. All reading goes straight to the database file, so that it works whatever was killed.
    `more` are settings of the portal, by their environment variables."""

    def __init__(self, home: Path, **more: str) -> None:
        self.home = home / "var"
        self.port = free_port(beside=len(more.get("BURGER_ENVIRONMENTS", "").split()))
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = environment(
            self.home, self.port, BURGER_LEASE="3", BURGER_WORKERS="3", BURGER_DATABASE_TIMEOUT="2",
            BURGER_PUBLIC_URL=self.url, BURGER_LOG_LEVEL="WARNING", **more,
        )  # fmt: skip
        self.repository, self.checkout = home / "repository.git", home / "checkout"
        self.ledger = home / "ledger"
        self.backstage = Backstage({**self.env, "BURGER_DATABASE_TIMEOUT": "20"})
        self.tokens: dict[str, str] = {}
        self.supervisor: subprocess.Popen[bytes] | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.tokens = self.backstage.set_up(repository=str(self.repository))
        self._serve()

    def away(self) -> None:
        """Kill the supervisor, and everything of the portal with it."""
        assert self.supervisor
        portal = [process for some in self.processes().values() for process in some]
        self.supervisor.kill()
        self.supervisor.wait()
        assert psutil.wait_procs(portal, timeout=30)[1] == []

    def back(self) -> None:
        self._serve()

    def _serve(self) -> None:
        with (self.home / "supervisor.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE], cwd=ROOT, env=self.env, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        eventually(self.well, 60, self.logs)

    def well(self) -> bool:
        assert self.supervisor
        assert self.supervisor.poll() is None, self.logs()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/api/health", timeout=5).status_code == 200
        return False

    def close(self) -> None:
        """End everything that has anything to do with this home, whoever started it."""
        self.backstage.close()
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait()
        while found := self._ours():
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)

    def _ours(self) -> list[psutil.Process]:
        mark = str(self.home.parent).encode()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                folder = Path("/proc") / str(process.pid)
                known = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                if mark in known and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def logs(self) -> str:
        """The last lines of all logs, for a failure's message."""
        files = [self.home / "supervisor.log", *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(
            f"--- {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-40:])
            for file in files
            if file.exists()
        )

    # --- the repository -----------------------------------------------------------------------------------------

    def commit(self, files: dict[str, str]) -> str:
        """Make the repository hold these files; returns the commit."""
        if not self.checkout.exists():
            for folder in (self.repository, self.checkout):
                folder.mkdir(parents=True)
            git(self.repository, "init", "--quiet", "--bare", "--initial-branch=main")
            git(self.checkout, "init", "--quiet", "--initial-branch=main")
            git(self.checkout, "remote", "add", "origin", str(self.repository))
        for name, text in files.items():
            (self.checkout / name).write_text(text)
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--allow-empty", "--message", "Change")
        git(self.checkout, "push", "--quiet", "origin", "HEAD:main")
        return git(self.checkout, "rev-parse", "HEAD")

    # --- reading ------------------------------------------------------------------------------------------------

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.home / 'burger.sqlite3'}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query, arguments).fetchall()

    def value(self, query: str, *arguments: Any) -> Any:
        found = self.rows(query, *arguments)
        return found[0][0] if found else None

    def state(self, run: int) -> str:
        return str(self.value("SELECT state FROM pipelines_run WHERE id = ?", run))

    def story(self, run: int) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT name, state, reason_code, reason, attempts_made FROM pipelines_stage WHERE run_id = ?", run
        )

    def finished(self, run: int, seconds: float = 60.0) -> str:
        """Wait for the run's end; returns its state."""
        eventually(lambda: self.state(run) in RUN_ENDED, seconds, lambda: f"{self.story(run)}\n{self.logs()}")
        return self.state(run)

    def holder(self, run: int, stage: str) -> int | None:
        """The process id of the worker that has this stage in its hands."""
        worker = self.value(
            "SELECT a.worker FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
            "WHERE s.run_id = ? AND s.name = ? AND a.open AND a.state = 'running' AND a.worker != ''",
            run, stage,
        )  # fmt: skip
        return int(worker.split(":")[1]) if worker else None

    def ledger_of(self, run: int) -> list[str]:
        """What the stages of a run wrote down, one line for each time that one of them began."""
        return [stage for stage, _ in self.began(run)]

    def log_of(self, run: int, stage: str) -> str:
        pieces = self.rows(
            "SELECT e.data FROM pipelines_event e JOIN pipelines_stage s ON s.id = e.stage_id "
            "WHERE e.run_id = ? AND s.name = ? AND e.kind = 'log' ORDER BY e.seq", run, stage)  # fmt: skip
        return "".join(json.loads(data)["text"] for (data,) in pieces)

    def began(self, run: int) -> list[tuple[str, int]]:
        """The same with the process id of each."""
        keys = dict(self.rows(
            "SELECT a.key, s.name FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
            "WHERE s.run_id = ?", run))  # fmt: skip
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [(keys[key], int(pid)) for key, pid in (line.split(" ") for line in lines) if key in keys]

    # --- hurting ------------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All living processes of the portal by role, without the commands of stages and their keepers."""
        assert self.supervisor is not None
        found: dict[str, list[psutil.Process]] = {"web": [], "sweeper": [], "main": [], "sentinel": [], "child": []}
        for child in psutil.Process(self.supervisor.pid).children():
            with suppress(psutil.Error):
                words = child.cmdline()
                role = next((word for word in ("web", "sweeper", "workers") if word in words or "uvicorn" in words), "")
                if role == "workers":
                    found["main"].append(child)
                    for sentinel in _forks(child):
                        found["sentinel"].append(sentinel)
                        found["child"] += _forks(sentinel)
                elif role:
                    found[role].append(child)
        return found

    def kill(self, role: str, chance: random.Random) -> None:
        """SIGKILL to one process of a role, once there is one."""
        victims = eventually(lambda: self.processes()[role], 60, self.logs)
        with suppress(psutil.NoSuchProcess):
            chance.choice(victims).kill()


def _forks(parent: psutil.Process) -> list[psutil.Process]:
    """The children that run the same program: not git, not what keeps a command."""
    found = []
    with suppress(psutil.Error):
        words = parent.cmdline()
        for child in parent.children():
            with suppress(psutil.Error):
                if child.cmdline() == words:
                    found.append(child)
    return found


@contextmanager
def installed(home: Path, **more: str) -> Iterator[Installation]:
    site = Installation(home, **more)
    try:
        site.start()
        yield site
    finally:
        site.close()
