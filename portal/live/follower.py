"""One look at the event table for all sockets of this process, and one encoded frame for all followers of a run.

What keeps events in order, each exactly once, is one rule: a follower takes a frame only if it starts right behind
the last number that it has. If not, it leaves the others and reads from the database until it has caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from . import frames
from .reading import Reader, Unreadable
from .wakeups import WakeUps

log = logging.getLogger(__name__)

FALLBACK = 1.0  # seconds until the next look when nothing rang
RETRY = 1.0  # seconds until the next try when the database did not answer
MOST_WAITING = 1024 * 1024  # characters that a slow client may have waiting in memory
MOST_REST = 0.05  # seconds between two looks when events come faster than they can be handed out


class Place:
    """Where one socket stands in one run."""

    def __init__(self, run: int, since: int, send: Callable[[str], Awaitable[None]]) -> None:
        self.run = run
        self.last = since
        self._send = send
        self._waiting: deque[str] = deque()
        self._size = 0  # of what is waiting
        self._behind = False
        # One future that is waited for costs a fraction of a queue, five hundred times for each event.
        self._news: asyncio.Future[None] | None = None

    def offer(self, batch: frames.Batch) -> bool:
        """Take a frame to be sent. False: it does not fit, and the place has to catch up from the database."""
        if batch.last <= self.last:
            return True
        if batch.first == self.last + 1 and self._size < MOST_WAITING:
            self._waiting.append(batch.text)
            self._size += len(batch.text)
            self.last = batch.last
        else:
            self._behind = True
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        return not self._behind

    async def follow(self, follower: Follower) -> None:
        """Send everything behind `last`, for ever. Ends by being cancelled or by what `send` raises."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._catch_up(follower)
                await self._send(frames.live(self.last))
                await self._send_waiting()
                while not self._behind:
                    # Nothing may come between the last look at what is waiting and this.
                    self._news = loop.create_future()
                    await self._news
                    await self._send_waiting()
                self._behind = False
        finally:
            follower.leave(self)

    async def _send_waiting(self) -> None:
        while self._waiting:
            text = self._waiting.popleft()
            self._size -= len(text)
            await self._send(text)

    async def _catch_up(self, follower: Follower) -> None:
        while True:
            try:
                batch = await follower.catching_up(frames.read, self.run, self.last)
            except Unreadable:
                await asyncio.sleep(RETRY)
                continue
            if batch is not None:
                await self._send(batch.text)
                self.last = batch.last
            if (batch is None or not batch.more) and follower.join(self):
                return


class Run:
    """The followers of one run that have caught up, and the last number that was handed to them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.places: set[Place] = set()


class Follower:
    """Follows the runs that somebody watches. It looks only while there are sockets."""

    def __init__(self, wakeups: WakeUps) -> None:
        self.catching_up = Reader("catch-up", threads=2)
        self._reading = Reader("follow")
        self._wakeups = wakeups
        self._runs: dict[int, Run] = {}
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, place: Place) -> bool:
        """Let a place take part in what comes. False: others are ahead of it, so it has to read again."""
        run = self._runs.get(place.run)
        if run is None:
            run = self._runs[place.run] = Run(place.last)
        if run.last > place.last:
            return False
        run.places.add(place)
        # Something may have been appended between the last read and now, when nobody listened.
        self._rung.set()
        if self._task is None:
            self._wakeups.subscribe(self._rung.set)
            self._task = asyncio.create_task(self._look_for_ever(), name="live-follower")
        return True

    def leave(self, place: Place) -> None:
        run = self._runs.get(place.run)
        if run is not None:
            run.places.discard(place)
            if not run.places:
                del self._runs[place.run]

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _look_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FALLBACK if self._runs else None):
                    await self._rung.wait()
            self._rung.clear()
            begun = loop.time()
            try:
                await self._look()
            except Unreadable:
                await asyncio.sleep(RETRY)
                continue
            except Exception:
                # Whatever it was, those who watch must not be left without a follower.
                log.exception("Following events failed")
                await asyncio.sleep(RETRY)
                continue
            # The sockets' own tasks come first: they were woken before this.
            await asyncio.sleep(0)
            if self._rung.is_set():
                # Events come faster than they can be handed out: fewer and larger frames leave time for others.
                await asyncio.sleep(min(MOST_REST, (loop.time() - begun) / 2))

    async def _look(self) -> None:
        """Hand out what is new."""
        if not self._runs:
            return
        batches = await self._reading(frames.read_new, {pk: run.last for pk, run in self._runs.items()})
        for pk, batch in batches.items():
            run = self._runs.get(pk)
            # Meanwhile the last follower may have left and another come, who is further on.
            if run is None or batch.first != run.last + 1:
                continue
            run.last = batch.last
            for place in [place for place in run.places if not place.offer(batch)]:
                self.leave(place)
            if batch.more:
                self._rung.set()
