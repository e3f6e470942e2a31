"""Reports on their way to the portal: kept in a file of the pod, sent in order, forgotten once they were taken."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from pathlib import Path
from typing import Any

from pipelines.engines.work import LeaseLost, NotNow
from pipelines.executors.store import Store

from .portal import LONGEST, Portal

log = logging.getLogger(__name__)

MOST = 200  # reports in one request
LARGEST = 512 * 1024  # bytes in one request, but for its last report


class Spool:
    """One attempt's reports; `taken` is how many of them the portal had before. A thread sends them."""

    def __init__(self, portal: Portal, token: str, taken: int, folder: Path) -> None:
        self._portal, self._token, self._taken = portal, token, taken
        self._store = Store(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"spool-{taken}.jsonl").open("w+b")
        self._waiting: deque[tuple[int, int]] = deque()  # where in the file, and how long
        self._end = 0
        self._changed = threading.Condition()
        self._gone: LeaseLost | None = None
        threading.Thread(target=self._send, name="spool", daemon=True).start()

    def add(self, report: dict[str, Any]) -> None:
        """Raises LeaseLost once the portal takes no more."""
        line = json.dumps(report, default=str).encode() + b"\n"
        with self._changed:
            self._check()
            self._file.seek(self._end)
            self._file.write(line)
            self._file.flush()
            self._waiting.append((self._end, len(line)))
            self._end += len(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until the portal has all of it. Raises LeaseLost."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._gone)
            self._check()

    def _check(self) -> None:
        if self._gone is not None:
            raise LeaseLost(str(self._gone))

    def _send(self) -> None:
        delay = 0.2
        while self._gone is None:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                batch = self._batch()
            try:
                self._deliver(batch)
                delay = 0.2
            except NotNow as away:
                log.warning("The portal takes no reports, trying again in %.1f s: %s", delay, away)
                with self._changed:
                    self._changed.wait(delay)
                delay = min(LONGEST, delay * 2)
            except LeaseLost as gone:
                with self._changed:
                    self._gone = gone
                    self._changed.notify_all()

    def _batch(self) -> list[dict[str, Any]]:
        found, size = [], 0
        for place, length in self._waiting:
            self._file.seek(place)
            found.append(json.loads(self._file.read(length)))
            size += length
            if len(found) == MOST or size > LARGEST:
                break
        return found

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        for report in batch:
            if report["kind"] == "produced" and self._store.has(digest := report["artifact"]["digest"]):
                self._portal.keep(self._token, digest, self._store.path(digest))
        first = self._taken + 1
        taken = self._portal.report(self._token, first, batch)
        with self._changed:
            for _ in range(min(max(0, taken - self._taken), len(batch))):
                self._waiting.popleft()
            self._taken = max(self._taken, taken)
            self._changed.notify_all()
