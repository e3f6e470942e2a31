"""Wrong guesses, of passwords and of promo codes: after a few from one address for one name, no more are tried for a
minute.

Counted in this process, which is enough to make guessing slow; each replica counts its own.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

ALLOWED = 8
WITHIN = 60.0  # seconds
_REMEMBERED = 10_000

_lock = threading.Lock()
_failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()


def failed(address: str, name: str) -> None:
    with _lock:
        recent = _recent(address, name)
        _failures[address, name] = [*recent, time.monotonic()][-ALLOWED:]
        _failures.move_to_end((address, name))
        while len(_failures) > _REMEMBERED:
            _failures.popitem(last=False)


def is_held(address: str, name: str) -> bool:
    with _lock:
        return len(_recent(address, name)) >= ALLOWED


def forget() -> None:
    """Start anew, as a process does."""
    with _lock:
        _failures.clear()


def _recent(address: str, name: str) -> list[float]:
    since = time.monotonic() - WITHIN
    return [moment for moment in _failures.get((address, name), []) if moment > since]
