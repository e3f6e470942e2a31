"""Following a kind of object: list, watch, and make good what a cut connection or an expired version cost."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError, Refused
from pipelines.executors.kubernetes.transport import Unreachable

if TYPE_CHECKING:
    from pipelines.executors.kubernetes.client import Client

# The server ends a watch after this many seconds, and we go on from there: so a connection that died without a word
# is noticed soon.
LIFETIME = 10
GRACE = 3.0
_BUSY = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Event:
    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: dict[str, Any] = field(default_factory=dict)


class Expired(Exception):
    """The server does not know our version any more: list again."""


class Watcher:
    """`events` is a generator; a thread reads the connection, so that the one who follows is never stuck in it."""

    def __init__(self, client: Client, kind: str, namespace: str, labels: str, fields: str) -> None:
        self._client, self._kind, self._namespace = client, kind, namespace
        selection = {"labelSelector": labels, "fieldSelector": fields}
        self._selection = {name: value for name, value in selection.items() if value}
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = ""
        self._queue: queue.Queue[Event | BaseException] = queue.Queue(maxsize=1000)
        self._closed = threading.Event()
        self._stream: Any = None

    def events(self, tick: float) -> Iterator[Event | None]:
        reader = threading.Thread(target=self._read, name=f"watch-{self._kind}", daemon=True)
        reader.start()
        try:
            while True:
                try:
                    item = self._queue.get(timeout=tick)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._closed.set()
            self._hang_up()

    def _hang_up(self) -> None:
        """Wakes the reader; it closes the connection itself, since a connection is not ours to close meanwhile."""
        stream = self._stream
        if stream is not None:
            try:
                stream.shutdown()
            except (ValueError, OSError, RuntimeError):
                return  # closed already

    # --- in the thread --------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while not self._closed.is_set():
                self._list()
                self._follow()
        except ClusterError as error:
            self._put(error)
        except Exception as error:
            # Whatever it is, the one who follows has to hear of it.
            self._put(ClusterAway(f"Watching {self._kind} broke: {error!r}."))

    def _put(self, item: Event | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _list(self) -> None:
        labels, fields = (self._selection.get(name, "") for name in ("labelSelector", "fieldSelector"))
        items, self._version = self._client.list_at(self._kind, self._namespace, labels, fields)
        found = {_key(item): item for item in items}
        for gone in self._known.keys() - found.keys():
            self._put(Event("DELETED", self._known[gone]))
        for key, item in found.items():
            before = self._known.get(key)
            if before is None:
                self._put(Event("ADDED", item))
            elif _version(before) != _version(item):
                self._put(Event("MODIFIED", item))
        self._known = found
        self._put(Event("SYNCED"))

    def _follow(self) -> None:
        """Watch from the version that we have until it has expired."""
        backoff = self._client.backoff()
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._stream_once()
                backoff = self._client.backoff()
                if time.monotonic() - began < 1:  # a server that hangs up at once
                    self._closed.wait(0.1)
            except Expired:
                return
            except (Unreachable, ClusterAway) as error:
                if time.monotonic() - began > 1:
                    backoff = self._client.backoff()
                backoff.pause(f"The cluster {self._client.cluster.name} does not answer: {error}.")

    def _stream_once(self) -> None:
        query = {
            **self._selection,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": LIFETIME,
        }
        try:
            self._stream = self._client.open_watch(self._kind, self._namespace, query, LIFETIME + GRACE)
        except Refused as refused:
            raise self._meaning(refused.code, str(refused)) from None
        try:
            # Whoever closed us before the stream was there could not hang it up.
            lines = iter(()) if self._closed.is_set() else _lines(self._stream)
            for line in lines:
                self._take(json.loads(line))
                if self._closed.is_set():
                    return
        finally:
            stream, self._stream = self._stream, None
            stream.close()

    def _take(self, event: dict[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise self._meaning(int(item.get("code", 0)), str(item.get("message", "")))
        self._version = _version(item)
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self._known.pop(_key(item), None)
        else:
            self._known[_key(item)] = item
        self._put(Event(kind, item))

    def _meaning(self, code: int, said: str) -> Exception:
        if code == 410:
            return Expired(said)
        return Unreachable(said.rstrip(".")) if code in _BUSY else Refused(said, code)


def _lines(stream: Any) -> Iterator[bytes]:
    """Whole lines; a last one without its end was cut off, and comes again after the next connection."""
    import urllib3

    held = b""
    try:
        for piece in stream.stream(64 * 1024):
            *lines, held = (held + piece).split(b"\n")
            yield from (line for line in lines if line)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"the watch was cut off ({type(error).__name__})") from None


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _version(item: dict[str, Any]) -> str:
    return str(item["metadata"].get("resourceVersion", ""))
