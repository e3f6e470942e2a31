"""Pages that were drawn a moment ago, to be shown again: the menu is read by many and changed by few."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Drawn(Generic[T]):
    """Keeps up to `most` things, each for as long as `get` is told. One of a process, shared by its threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable, draw: Callable[[], T], *, max_age: float) -> T:
        """What `key` names, at most `max_age` seconds old; drawn where there is none. Two threads may draw at once."""
        now = time.monotonic()
        found = self._kept.get(key)
        if found and now < found[0] + max_age:
            return found[1]
        drawn = draw()
        if len(self._kept) >= self._most:
            self._kept.clear()
        self._kept[key] = now, drawn
        return drawn
