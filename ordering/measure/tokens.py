"""Narrowing down a token that somebody else signed: `CLAIMS.CLAIMS...SIGNATURE`.

Each part is a JSON object in base64url; the signature of one more part is the HMAC-SHA256 of it, keyed with the
signature so far, and cut to 24 bytes. So a token of a release gives one of a page, without asking anybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import lru_cache

# How long a page may stay open and still be counted.
OPEN_FOR = 86_400
HOUR = 3600


def narrow(token: str, **claims: str | float) -> str:
    """The token with one more part: `r` a release, `p` a route, `x` the second since 1970 at which it ends."""
    before, _, signature = token.rpartition(".")
    part = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=").decode()
    digest = hmac.new(base64.urlsafe_b64decode(signature), part.encode(), hashlib.sha256).digest()
    return f"{before}.{part}.{base64.urlsafe_b64encode(digest[:24]).decode()}"


def of_release(token: str, release: str) -> str:
    """What reports of a release are sent with. Saying it again for one that names it changes nothing."""
    return narrow(token, r=release)


def of_page(token: str, route: str, now: float) -> str:
    """What a page carries; the same for all who ask for it within an hour."""
    return _of_page(token, route, int(now // HOUR))


@lru_cache(maxsize=256)
def _of_page(token: str, route: str, hour: int) -> str:
    return narrow(token, p=route, x=(hour + 1) * HOUR + OPEN_FOR)
