"""The content store, as pods reach it: each reads what its stage works with, and adds what it makes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from django.conf import settings

from pipelines.executors.store import Store

from . import desk
from .identity import Stranger, attempt_of

BLOCK = 1024 * 1024
STORE = "/api/engine/store/"


class WrongContent(ValueError):
    """Not what its digest says; the message is a whole sentence."""


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


def readable(attempt: int, fence: int, digest: str) -> Path | None:
    """The file with a content, None where there is none or this attempt has nothing to do with it. Raises
    StaleResult."""
    store = Store(Path(settings.HOME))
    if not desk.may_read(attempt, fence, digest) or not store.has(digest):
        return None
    return store.path(digest)


def keep(attempt: int, fence: int, digest: str, body: Readable) -> None:
    """Add a content. Raises WrongContent, StaleResult."""
    desk.look(attempt, fence)
    store = Store(Path(settings.HOME))
    if store.has(digest):
        return
    store.temporary.mkdir(parents=True, exist_ok=True)
    arriving = store.temporary / f"arriving-{secrets.token_hex(8)}"
    try:
        with arriving.open("wb") as file:
            _copy(body, file)
        found, _ = store.add(arriving) if _has(arriving, digest) else ("", 0)
        if found != digest:
            raise WrongContent(f"What came is not {digest}; send it again.")
    finally:
        arriving.unlink(missing_ok=True)


def may_send(scope: Mapping[str, Any]) -> bool:
    """Whether a request, as ASGI has it, brings a content and shows the token of an attempt. What a stage makes may be
    of any size."""
    if scope["method"] != "PUT" or not scope["path"].startswith(STORE):
        return False
    shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    try:
        attempt_of(shown.decode(errors="replace").removeprefix("Bearer "))
    except Stranger:
        return False
    return True


def _copy(body: Readable, file: BinaryIO) -> None:
    while block := body.read(BLOCK):
        file.write(block)


def _has(path: Path, digest: str) -> bool:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() == digest
