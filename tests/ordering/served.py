"""Starts the standalone shop's real processes for tests, and ends them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "a-key-that-is-only-used-by-these-tests-0123456789"
MANAGE = [sys.executable, "-m", "ordering.site.manage"]


def environment(data: Path, **more: str) -> dict[str, str]:
    """A process environment that holds what the shop needs and nothing of the test's own."""
    return {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": KEY,
        "DATA_DIR": str(data),
        "RELEASE": "test-release",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)]),
    } | more


def run(command: list[str], env: dict[str, str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def build_frontend(out: Path) -> Path:
    run([sys.executable, "-m", "ordering.site.build_frontend", str(out)], {"PATH": os.environ["PATH"]})
    return out


def migrated_database(folder: Path) -> Path:
    run([*MANAGE, "migrate", "--verbosity", "0"], environment(folder))
    return folder / "shop.sqlite3"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """One server process, waited for until it listens, and ended with the block."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self.log, self.command, self.process_env = log, [*command, "--port", str(self.port)], env
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("a") as output:
            return subprocess.Popen(self.command, env=self.process_env, cwd=ROOT, stdout=output, stderr=output)

    def __enter__(self) -> Any:
        self._until_it_answers()
        return self

    def kill_and_restart(self) -> None:
        """Without warning, in the middle of whatever it does; then another on the same port."""
        self.process.kill()
        self.process.wait(timeout=10)
        self.process = self._started()
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                self.client.get("/healthz")
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.url} does not answer: {self.log.read_text()}")

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        self.client.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


class Shop(Server):
    """The backend over a copy of a migrated database."""

    def __init__(self, home: Path, *, database: Path | None = None, built: Path | None = None, **more: str) -> None:
        home.mkdir()
        if database:
            shutil.copy(database, home / "shop.sqlite3")
        if built:
            more.setdefault("STATIC_MANIFEST_DIR", str(built / "static"))
        self.env = environment(home, **more)
        super().__init__([sys.executable, "-m", "ordering.site.serve"], self.env, home / "log")

    def order(self, client: httpx.Client, key: str, lines: dict[str, int], **more: Any) -> httpx.Response:
        body = {
            "name": "Ada",
            "lines": [{"item": item, "quantity": n} for item, n in lines.items()],
        } | more
        return client.post(f"{self.url}/api/orders", json=body, headers={"Idempotency-Key": key})
