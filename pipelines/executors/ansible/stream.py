"""The file of events, followed while it grows and joined where an earlier reader stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipelines.executors.ansible.report import Report
from pipelines.executors.base import Log, Receipt

# What the child prints for each event.
WAKE_UP = "\N{BELL}"


class Stream:
    """`report` covers every event since the beginning, the log only what no earlier reader handed over."""

    def __init__(self, events: Path, cursor: Path) -> None:
        self.events, self.cursor = events, cursor
        self.report = Report()
        self._offset = 0
        self._handed_over = int(cursor.read_text() or 0) if cursor.exists() else 0

    def read(self) -> Iterator[Log]:
        """Yield the new lines of the log, at most once, if there are any; `report` reaches up to there."""
        text = ""
        for line in self._lines():
            start, self._offset = self._offset, self._offset + len(line)
            added = self.report.add(json.loads(line))
            if start >= self._handed_over:
                text += added
        if not text:
            return
        receipt = Receipt(partial(self._stored, self._offset))
        yield Log(text, receipt)
        if not receipt.kept:
            receipt.stored()

    def _stored(self, offset: int) -> None:
        if offset <= self._handed_over:
            return
        self._handed_over = offset
        fresh = self.cursor.with_name(f"{self.cursor.name}.new")
        # A disk that takes nothing costs lines said twice, and not the work.
        with suppress(OSError):
            fresh.write_text(str(offset))
            fresh.replace(self.cursor)

    def _lines(self) -> list[bytes]:
        """Complete lines that were not read yet."""
        try:
            with self.events.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
