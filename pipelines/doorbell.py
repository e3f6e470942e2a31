"""Wake-ups between processes, without polling: each listener owns a named pipe that the writers of its machine ring,
and `relay` carries rings to other machines where there are any.

A ring that gets lost costs delay, never data: every listener also looks by itself once in a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import uuid
from pathlib import Path

from django.conf import settings
from django.db import transaction

from . import relay

WORK = "work"  # something may be claimed
ARGO = "argo"  # a run on Argo has changed
EVENTS = "events"  # something was appended to the event table


def _folder(kind: str) -> Path:
    return Path(settings.RUN_DIR) / "bells" / kind


class Bell:
    """A listener's own pipe. Use as a context manager, or call `close`."""

    def __init__(self, kind: str) -> None:
        folder = _folder(kind)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        os.mkfifo(self.path, mode=0o600)
        # Open for writing too: else the pipe reports its end whenever no writer has it open.
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.ear = relay.Ear(kind, lambda: _ring_one(self.path)) if settings.REDIS_URL else None

    def wait(self, seconds: float) -> bool:
        """Block until rung or until `seconds` have passed; say which."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        return bool(ready) and self.drain()

    def drain(self) -> bool:
        """Take all rings that are there at once."""
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.fd, 65_536))
        return False

    def close(self) -> None:
        if self.ear is not None:
            self.ear.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Bell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ring(kind: str) -> None:
    """Wake every listener of a kind. Never fails, and never takes long."""
    relay.ring(kind)
    try:
        bells = os.scandir(_folder(kind))
    except OSError:
        return
    with bells:
        for bell in bells:
            _ring_one(Path(bell.path))


def _ring_one(bell: Path) -> None:
    try:
        fd = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # its owner died without closing it
            with contextlib.suppress(OSError):
                bell.unlink()
        return
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, b"!")
    except OSError:
        pass  # full: its owner is about to wake up anyway
    finally:
        os.close(fd)


def ring_on_commit(kind: str) -> None:
    """Ring once the present transaction is in the database; several calls in one transaction ring several times."""
    transaction.on_commit(lambda: ring(kind), robust=True)
