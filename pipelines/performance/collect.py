"""Where reports come in: an ASGI app before Django, which takes a body, answers 204, and looks at it later.

Nothing of a request but its body and, of a server's report, its token is ever read: no cookie, no address, no user
agent. What comes in faster than it is worked off is dropped and counted; nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from django.db import connection, connections

from pipelines.outages import is_outage
from pipelines.performance import reports, tokens
from pipelines.performance.cells import Cells

log = logging.getLogger(__name__)

BEACON, REPORT = "/measure/beacon", "/measure/report"
# What waits to be read: at 2 KB a beacon some 20 MB, and five seconds of 2,000 a second.
MOST_BEACONS = 10_000
MOST_REPORTS = 200
FLUSH = 2.0  # seconds between two writes
LOOK = 0.25  # seconds for which what came in waits to be read
TELL_EVERY = 60.0  # seconds between two log entries of reports that break their reader
LAST_WORDS = 5.0  # seconds that the last write may take when the process ends

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Collector:
    """Takes reports from any thread, and writes what they say from one of its own, which the first report starts."""

    def __init__(self, secret: Callable[[], bytes], clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret, clock
        self._beacons: deque[bytes] = deque()
        self._reports: deque[tuple[str, bytes]] = deque()
        self._dropped: Counter[str] = Counter()
        self._cells = Cells()
        self._guard = threading.Lock()  # of the cells
        self._start = threading.Lock()
        self._came, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._told = 0.0

    def beacon(self, body: bytes) -> None:
        """Take what a browser sent, or count that there was no room for it."""
        if len(self._beacons) >= MOST_BEACONS:
            self._dropped["no_room"] += 1
        else:
            self._beacons.append(body)
        self._wake()

    def drop(self, reason: str) -> None:
        self._dropped[reason] += 1
        self._wake()

    def report(self, token: str, body: bytes) -> bool:
        """Take what a server sent; False where there is no room, so that it sends it again."""
        if len(self._reports) >= MOST_REPORTS:
            return False
        self._reports.append((token, body))
        self._wake()
        return True

    def flush(self) -> int:
        """Read all that waits and write what it says; returns the number of rows. What is raised loses nothing."""
        with self._guard:
            self._read()
            return self._cells.write() if self._cells else 0

    def close(self) -> None:
        """Write what is there, and end the thread."""
        self._ending.set()
        self._came.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS)

    # --- its thread ---------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._came.is_set():
            self._came.set()
        if self._is_without_thread():
            with self._start:
                if self._is_without_thread():
                    self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
                    self._thread.start()

    def _is_without_thread(self) -> bool:
        """Also one that died goes on in another: nobody else would ever read what comes in."""
        return (self._thread is None or not self._thread.is_alive()) and not self._ending.is_set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._came.wait()
            self._try(self._read_for_a_while)
            self._came.clear()
            self._try(self.flush)
        connection.close()

    def _read_for_a_while(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < FLUSH and not self._ending.wait(LOOK):
            with self._guard:
                self._read()

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            if not is_outage(error):
                log.exception("Measurements could not be taken in; they are kept for the next try")
            else:
                log.warning("Measurements wait for the database: %s", error)
            connections.close_all()
            self._ending.wait(FLUSH)
            self._came.set()

    def _read(self) -> None:
        now = self._clock()
        read = _reader(self._secret(), now)
        for reason in list(self._dropped):
            self._cells.drop(reason, now, self._dropped.pop(reason))
        for _ in range(len(self._reports)):
            token, body = self._reports.popleft()
            self._read_report(token, body, read, now)
        for _ in range(len(self._beacons)):
            self._read_beacon(self._beacons.popleft(), read, now)

    def _read_report(self, token: str, body: bytes, read: reports.Reader, now: float) -> None:
        environment = ""
        try:
            environment = reports.sender(token, read).environment
            self._cells.add(list(reports.report(token, body, read)), now)
            beacons, dropped = reports.relayed(body)
            for reason, count in dropped.items():
                self._cells.drop(reason, now, count, environment)
            for one in beacons:
                self._read_beacon(one, read, now, environment)
        except Exception as error:
            self._cells.drop(self._reason(error, now), now, 1, environment)

    def _read_beacon(self, body: bytes, read: reports.Reader, now: float, environment: str = "") -> None:
        """`environment` is the one whose server passes it on: what is wrong with it came to that one."""
        try:
            self._cells.add(reports.beacon(body, read), now)
        except Exception as error:
            self._cells.drop(self._reason(error, now), now, 1, environment)

    def _reason(self, error: Exception, now: float) -> str:
        """Why something is not counted. Whatever it breaks, it is the only one that is lost by it."""
        if isinstance(error, reports.Dropped):
            return str(error)
        # Whoever can make one can make a thousand a second, and fill the disk with what is said of them.
        if now - self._told >= TELL_EVERY:
            self._told = now
            log.error("A report could not be read, and is counted as malformed", exc_info=error)
        return "malformed"


@lru_cache(maxsize=4096)
def _believed(secret: bytes, token: str) -> tokens.Claims:
    """Whether it is ours does not change; whether it has expired is asked each time."""
    return tokens.read(secret, token, 0)


def _reader(secret: bytes, now: float) -> reports.Reader:
    def read(token: str) -> tokens.Claims:
        claims = _believed(secret, token)
        if claims.until is not None and claims.until < now:
            raise tokens.TokenError("expired")
        return claims

    return read


class Intake:
    """ASGI middleware: answers for the collector's two addresses, and hands every other request on."""

    def __init__(self, app: App, collector: Collector) -> None:
        self.app, self.collector = app, collector

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path not in (BEACON, REPORT):
            await self.app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _answer(send, 405, (b"allow", b"POST"))
            return
        body = await _body(receive, reports.LONGEST_BEACON if path == BEACON else reports.LONGEST_REPORT)
        if body is None:
            self.collector.drop("too_large")
            await _answer(send, 413, (b"connection", b"close"))
        elif path == BEACON:
            self.collector.beacon(body)
            await _answer(send, 204)
        elif self.collector.report(_token(scope), body):
            await _answer(send, 204)
        else:
            await _answer(send, 503, (b"retry-after", b"5"))


def _token(scope: MutableMapping[str, Any]) -> str:
    found = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return found.decode("latin-1").removeprefix("Bearer ")


async def _body(receive: Receive, most: int) -> bytes | None:
    """None for one of more than `most` bytes, of which no more than that is held."""
    taken = b""
    while True:
        message = await receive()
        taken += message.get("body", b"")
        if len(taken) > most:
            return None
        if not message.get("more_body"):
            return taken


async def _answer(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"cache-control", b"no-store")]}
    )
    await send({"type": "http.response.body", "body": b""})
