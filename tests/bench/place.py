"""A place of a benchmark's own: a temporary home, a migrated database, and the processes that work there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """Set Django up in a new home, which is gone afterwards. Once in a process, before anything reads the settings.

    The database is the one that BURGER_DATABASE_URL names, else an SQLite file in that home.
    """
    with tempfile.TemporaryDirectory(prefix="burger-bench-") as folder:
        os.environ |= {
            "BURGER_HOME": folder,
            "BURGER_PORT_BASE": str(free_port()),
            "BURGER_LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
        }
        os.environ.pop("BURGER_PUBLIC_URL", None)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield Path(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process in this process's home, ended with all its children."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def everything() -> Iterator[subprocess.Popen[bytes]]:
    """Web, workers and sweeper under their supervisor, as `make up` starts them."""
    from portal.supervisor import answers

    with running("-c", "from portal.supervisor import Supervisor; Supervisor().run()") as process:
        until(answers, "the portal answers", process)
        yield process


def until(true: Callable[[], object], what: str, process: subprocess.Popen[bytes], every: float = 0.1) -> None:
    """Raises RuntimeError when it takes too long, or when `process` ends first."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if process.poll() is not None:
            raise RuntimeError(f"Waiting until {what}: process {process.args} ended with {process.returncode}.")
        if time.monotonic() > deadline:
            raise RuntimeError(f"Waiting until {what}: not so after {PATIENCE:g} s.")
        time.sleep(every)
