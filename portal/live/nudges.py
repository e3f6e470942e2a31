"""List pages are told which runs changed, twice a second at most; what they show they fetch by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from django.db.models import Max, Q

from pipelines.models import Event, Run
from pipelines.states import RUN_ENDED, RunState

from . import frames
from .reading import Reader, Unreadable
from .wakeups import WakeUps

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between nudges
FALLBACK = 1.0  # seconds until the next look when nothing rang
QUIET = ("log", "artifact")  # kinds that no list shows
# A transaction that began earlier may end later, so a run can turn up with a smaller key than one already seen.
OVERLAP = 50

_OPEN = frozenset(RunState) - RUN_ENDED


class Heads:
    """The last event numbers of the runs that may change, to tell which did. Blocks."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._open: set[int] = set()
        self._last: dict[int, int] = {}

    def look(self) -> str | None:
        """A frame that says what changed since the last look, or None. The first look only learns how things are."""
        first = self._newest is None
        if first:
            self._newest = Run.objects.aggregate(newest=Max("pk"))["newest"] or 0
        before, rows = self._last, self._rows()
        self._last = {pk: last for pk, _, _, _, last in rows}
        self._open = {pk for pk, _, _, state, _ in rows if state in _OPEN}
        self._newest = max([self._newest or 0, *self._last])
        return None if first else self._changed(before, rows)

    def _rows(self) -> list[tuple[int, str, int, str, int]]:
        # One that was open is looked at once more, to see it end; one that is taken up again is open again.
        candidates = Q(state__in=_OPEN) | Q(pk__gt=(self._newest or 0) - OVERLAP) | Q(pk__in=self._open)
        fields = ("pk", "pipeline__slug", "number", "state", "last_seq")
        return list(Run.objects.filter(candidates).order_by("pk").values_list(*fields))

    def _changed(self, before: dict[int, int], rows: list[tuple[int, str, int, str, int]]) -> str | None:
        kinds: set[str] = set()
        runs = []
        for pk, pipeline, number, state, last in rows:
            if last <= before.get(pk, 0):
                continue
            events = Event.objects.filter(run=pk, seq__gt=before.get(pk, 0)).exclude(kind__in=QUIET).order_by()
            if found := set(events.values_list("kind", flat=True).distinct()):
                kinds |= found
                runs.append({"pk": pk, "pipeline": pipeline, "number": number, "state": state})
        return frames.changed(kinds, runs) if runs else None


class Nudges:
    """One look for all list pages of this process, only while there are any."""

    def __init__(self, wakeups: WakeUps) -> None:
        self._reading = Reader("nudges")
        self._wakeups = wakeups
        self._rung = asyncio.Event()
        self._inboxes: set[Inbox] = set()
        self._task: asyncio.Task[None] | None = None

    def join(self, inbox: Inbox) -> None:
        self._inboxes.add(inbox)
        self._rung.set()
        if self._task is None:
            self._wakeups.subscribe(self._rung.set)
            self._task = asyncio.create_task(self._look_for_ever(), name="live-nudges")

    def leave(self, inbox: Inbox) -> None:
        self._inboxes.discard(inbox)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _look_for_ever(self) -> None:
        heads = Heads()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FALLBACK if self._inboxes else None):
                    await self._rung.wait()
            self._rung.clear()
            if self._inboxes:
                await self._look(heads)
                await asyncio.sleep(PAUSE)

    async def _look(self, heads: Heads) -> None:
        try:
            frame = await self._reading(heads.look)
        except Unreadable:
            return
        except Exception:
            # Whatever it was, those who watch must not be left without nudges.
            log.exception("Looking for changed runs failed")
            return
        if frame is not None:
            for inbox in self._inboxes:
                inbox.put(frame)


class Inbox:
    """The nudges that wait for one socket. Of a slow one the oldest are dropped, and it is told to look at all."""

    MOST = 20

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def put(self, frame: str) -> None:
        if self._queue.qsize() >= self.MOST:
            while not self._queue.empty():
                self._queue.get_nowait()
            frame = frames.live(None)
        self._queue.put_nowait(frame)

    async def follow(self, nudges: Nudges) -> None:
        """Send for ever. Ends by being cancelled or by what `send` raises."""
        nudges.join(self)
        try:
            await self._send(frames.live(None))
            while True:
                await self._send(await self._queue.get())
        finally:
            nudges.leave(self)
