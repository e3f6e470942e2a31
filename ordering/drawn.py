"""Pages that were drawn a moment ago, to be shown again: the menu is read by many and changed by few."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


# A busy machine draws less often: drawing is to take no more than this share of the time, unless what is shown would
# get older than this (seconds).
_SHARE = 1 / 30
_OLDEST = 10.0


class Drawn(Generic[T]):
    """Keeps up to `most` things. One of a process, shared by its threads.

    `stamp` says in a word what things are drawn of: while it stays the same, what is there is shown on.
    """

    def __init__(self, most: int, stamp: Callable[[], Hashable] | None = None) -> None:
        self._most = most
        self._stamp = stamp
        self._kept: dict[Hashable, tuple[float, Hashable, T]] = {}

    def get(self, key: Hashable, draw: Callable[[], T], *, max_age: float) -> T:
        """What `key` names, true at most `max_age` seconds ago, or longer where drawing takes long; drawn now where
        there is none. 0 always draws. Two threads may draw at once."""
        began = time.monotonic()
        found = self._kept.get(key)
        if found and max_age > 0 and began < found[0]:
            return found[2]
        stamp = self._stamp() if self._stamp and max_age > 0 else None
        drawn = found[2] if found and stamp is not None and stamp == found[1] else draw()
        took = time.monotonic() - began
        if len(self._kept) >= self._most:
            self._kept.clear()
        self._kept[key] = began + max(max_age, min(took / _SHARE, _OLDEST)), stamp, drawn
        return drawn

    def forget(self) -> None:
        """Draw everything anew."""
        self._kept.clear()
