"""Digests of content that may be secret: keyed with a secret of the installation, so that nobody can guess values
and compare."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.keyfile import key_of

FILE = "content.key"


class ContentKey:
    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, home: Path) -> ContentKey:
        """The installation's key, `home`/content.key, made on first use. All of its workers need the same one."""
        return cls(key_of(home / FILE))

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
