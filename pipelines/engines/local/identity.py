"""Who a worker is, in one line that names one process for good, and whether that process still lives."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from functools import cache, lru_cache
from pathlib import Path

from django.conf import settings


@lru_cache(maxsize=1)
def _name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_started(pid)}-{_boot()}"


def me() -> str:
    """This process, named so that a reused process id is never taken for it."""
    return _name(os.getpid())


def is_dead(worker: str) -> bool:
    """Whether a worker was on this machine and is no more. False where that cannot be known from here."""
    host, _, rest = worker.partition(":")
    pid, _, life = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return life != f"{_started(int(pid))}-{_boot()}"


def workers_file() -> Path:
    """Where the workers' main process of this machine says its id; it holds a lock on the file while it lives."""
    folder = Path(settings.RUN_DIR)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "workers.pid"


def ended_with_the_others(worker: str) -> bool:
    """Whether a dead worker of this machine was one of an earlier main process: then all of them were stopped, and no
    stage killed it."""
    try:
        with workers_file().open("r+") as file:
            main = json.loads(file.read())["pid"]
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True  # nobody holds it
    except BlockingIOError:
        life = worker.rpartition(":")[2]
        started, _, boot = life.partition("-")
        return boot != _boot() or (started.isdigit() and int(started) < _started(int(main)))
    except (FileNotFoundError, ValueError, KeyError):
        return True


def _started(pid: int) -> int:
    """The start of a process in clock ticks after boot, 0 if it has ended. Unlike a time of day, it never shifts when
    somebody sets the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
