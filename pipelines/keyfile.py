"""Secrets of this installation that nobody has to choose: made on first use, kept in its home, the same for all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def key_of(path: Path) -> bytes:
    """The key in this file (64 hex digits, mode 0600), made if there is none. All processes get the same one."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(32).encode())
    # A link is made or is not: of two processes that begin at the same moment, one's key counts for both.
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    return path.read_bytes()
