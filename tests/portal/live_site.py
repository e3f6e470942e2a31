"""A real installation to watch: a home, a migrated database, a uvicorn process, and worker processes beside it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

ROOT = Path(__file__).resolve().parents[2]
BACKSTAGE = Path(__file__).with_name("live_backstage.py")


class Backstage:
    """One worker process. `backstage.append(run=1, count=2)` waits for the answer; `begin` and `answer` do not."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(BACKSTAGE)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, act: str, **arguments: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([act, arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __getattr__(self, act: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.begin(act, **arguments)
            return self.answer()

        return call

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Site:
    def __init__(
        self, home: Path, *, application: str = "portal.asgi:application", port: int = 0, database: str = ""
    ) -> None:  # fmt: skip
        self.home, self.application = home, application
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            self.port = listener.getsockname()[1]
        self.env = {**os.environ, "BURGER_HOME": str(home), "PYTHONPATH": str(ROOT), "BURGER_LOG_LEVEL": "WARNING"}
        self.env.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
        self.env.pop("BURGER_DATABASE_URL", None)
        self.env |= {"BURGER_DATABASE_URL": database} if database else {}
        self.web: subprocess.Popen[bytes] | None = None
        self.backstage = Backstage(self.env)

    def start_web(self) -> None:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            self.application,
            "--port",
            str(self.port),
            "--log-level",
            "warning",
        ]
        self.web = subprocess.Popen([*command, "--no-access-log"], cwd=ROOT, env=self.env)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self.web.poll() is None, "the web process ended"
            assert time.monotonic() < deadline, "the web process does not listen"
            time.sleep(0.05)

    def stop_web(self, *, kill: bool = False) -> None:
        if self.web:
            self.web.kill() if kill else self.web.terminate()
            try:
                self.web.wait(10)
            except subprocess.TimeoutExpired:
                self.web.kill()
                self.web.wait()
            self.web = None

    def close(self) -> None:
        self.stop_web()
        self.backstage.close()

    @property
    def own_origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cookie(self, session: str) -> str:
        port = self.env.get("BURGER_PORT_BASE", "8400")
        return f"burger_session_{port}={session}"

    def connect(self, path: str, session: str = "", origin: str | None = None, **options: Any) -> Any:
        """A real client's connection, as an async context manager."""
        return websockets.connect(
            f"ws://127.0.0.1:{self.port}{path}",
            origin=self.own_origin if origin is None else origin,  # type: ignore[arg-type]
            additional_headers={"Cookie": self.cookie(session)} if session else {},
            max_size=None,
            **options,
        )


@contextlib.contextmanager
def live_site(home: Path, **options: Any) -> Iterator[Site]:
    site = Site(home, **options)
    try:
        site.backstage.migrate()
        site.start_web()
        yield site
    finally:
        site.close()


async def events_until(socket: ClientConnection, last: int) -> list[dict[str, Any]]:
    """The events that arrive, up to number `last`."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["seq"] < last:
        frame = json.loads(await socket.recv())
        if frame["type"] == "events":
            assert frame["last"] == frame["events"][-1]["seq"]
            found += frame["events"]
    return found


async def frame_of(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of a type."""
    while True:
        frame = json.loads(await socket.recv())
        if frame["type"] == kind:
            return frame
