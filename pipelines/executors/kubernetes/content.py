"""Digests of content that may be secret: keyed with a secret of the installation, so that nobody can guess values
and compare."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "content.key"


class ContentKey:
    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, home: Path) -> ContentKey:
        """The installation's key, `home`/content.key, made on first use. All of its workers need the same one."""
        path = home / FILE
        with suppress(FileNotFoundError):
            return cls(path.read_bytes())
        home.mkdir(parents=True, exist_ok=True)
        fresh = home / f"{FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        # A link is made or is not: of two workers that begin at the same moment, one's key counts for both.
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
        return cls(path.read_bytes())

    def digest(self, content: Any) -> str:
        """16 hex digits for any JSON value."""
        return hmac.new(self._key, canonical(content), hashlib.sha256).hexdigest()[:16]


def plain_digest(content: Any) -> str:
    """16 hex digits for any JSON value that is no secret; the same in every installation."""
    return hashlib.sha256(canonical(content)).hexdigest()[:16]


def canonical(content: Any) -> bytes:
    if isinstance(content, Mapping):
        content = dict(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
