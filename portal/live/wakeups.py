"""When to look at the event table. A wake-up that gets lost costs delay, never data: the listeners look anyway.

The writers ring a named pipe, on this machine or through the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pipelines.doorbell import EVENTS, Bell


class WakeUps(Protocol):
    def subscribe(self, wake: Callable[[], None]) -> None:
        """From now on call `wake`, in the running event loop, whenever events may have been appended."""

    def close(self) -> None: ...


class Doorbell:
    """Rung by `pipelines.events` after each commit. One bell for the process, from the first subscriber on."""

    def __init__(self) -> None:
        self._bell: Bell | None = None
        self._wakes: list[Callable[[], None]] = []

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)
        if self._bell is None:
            self._bell = Bell(EVENTS)
            asyncio.get_running_loop().add_reader(self._bell.fd, self._rung)

    def _rung(self) -> None:
        if self._bell is not None:
            self._bell.drain()
        for wake in self._wakes:
            wake()

    def close(self) -> None:
        if self._bell is not None:
            asyncio.get_running_loop().remove_reader(self._bell.fd)
            self._bell.close()
            self._bell = None
        self._wakes.clear()
