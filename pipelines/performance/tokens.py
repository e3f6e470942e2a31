"""Tokens that say for which environment, release and page somebody may report measurements. Pure.

A token is `CLAIMS.CLAIMS...SIGNATURE`, each CLAIMS a JSON object in base64url. The signature is a chain:

    s0 = HMAC-SHA256(key of the installation, "measure"), s1 = HMAC(s0, first CLAIMS), s2 = HMAC(s1, second CLAIMS) ...

So whoever holds a token can narrow it down without asking anybody, and nobody can widen one. A rollout gives a replica
a token of its environment and release; the replica gives each page one that is narrowed to a route and a few hours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.keyfile import key_of

FILE = "measure.key"
LONGEST = 1000  # characters
MOST_CLAIMS = 4
LATEST = 1e11  # seconds since 1970, in some 3,000 years
# What a claim is called in a token, which travels with each page.
_NAMES = {"e": "environment", "r": "release", "p": "route", "x": "until"}
_SHORT = {name: short for short, name in _NAMES.items()}


class TokenError(ValueError):
    """The token is none of ours, or not for this. The message is a word for statistics: never the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`route` is None for a token that no page carries, `until` (seconds since 1970) for one that does not expire."""

    environment: str
    release: str = ""
    route: str | None = None
    until: float | None = None


def key(home: Path) -> bytes:
    return key_of(home / FILE)


def mint(secret: bytes, environment: str, release: str = "") -> str:
    """A token for one environment, and one release unless "" leaves that to whoever holds it."""
    return narrow(
        "." + _digest(secret, "measure"), environment=environment, **({"release": release} if release else {})
    )


def narrow(token: str, **claims: str | float) -> str:
    """The same token, for less: `environment`, `release`, `route` and `until`."""
    before, _, signature = token.rpartition(".")
    text = json.dumps({_SHORT[name]: value for name, value in claims.items()}, separators=(",", ":"))
    part = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return ".".join([*([before] if before else []), part, _digest(_bytes(signature), part)])


def read(secret: bytes, token: str, now: float) -> Claims:
    """What the token allows. Raises TokenError: `malformed`, `forged` or `expired`."""
    *parts, signature = token[: LONGEST + 1].split(".")
    if len(token) > LONGEST or not 1 <= len(parts) <= MOST_CLAIMS or not token.isascii():
        raise TokenError("malformed")
    expected = _digest(secret, "measure")
    for part in parts:
        expected = _digest(_bytes(expected), part)
    if not hmac.compare_digest(expected, signature):
        raise TokenError("forged")
    claims = _together(parts)
    if claims.until is not None and claims.until < now:
        raise TokenError("expired")
    return claims


def _together(parts: list[str]) -> Claims:
    """What was said first stands: a later part may add to it and cannot change it."""
    found: dict[str, Any] = {}
    for part in parts:
        try:
            given = json.loads(_bytes(part))
        except (ValueError, RecursionError):
            raise TokenError("malformed") from None
        if not isinstance(given, Mapping):
            raise TokenError("malformed")
        for short, value in given.items():
            name = _NAMES.get(short)
            kind: Any = int | float if name == "until" else str
            if name is None or not isinstance(value, kind) or isinstance(value, bool):
                raise TokenError("malformed")
            if name == "until":
                # Nothing is before NaN, and the earliest of it and anything may be NaN, which never comes.
                if not 0 <= value <= LATEST:
                    raise TokenError("malformed")
                found[name] = min(float(value), found.get(name, float("inf")))
            elif found.setdefault(name, value) != value:
                raise TokenError("forged")
    if not found.get("environment"):
        raise TokenError("malformed")
    return Claims(**found)


def _digest(secret: bytes, text: str) -> str:
    found = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(found[:24]).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise TokenError("malformed") from None
