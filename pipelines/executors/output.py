"""What a kept command wrote, handed over in masked pieces, by whichever worker follows it at the time."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipelines.executors.base import Log, Receipt
from pipelines.executors.masks import Masker

READ_SIZE = 65536
_LONGEST_CHARACTER = 4  # bytes of UTF-8


class Output:
    """What the command wrote, from where the last caller stopped.

    It is cut at ends of lines. A line that is longer than `READ_SIZE`, and lines that hold a secret together, are cut
    where no secret is torn apart.
    """

    def __init__(self, folder: Path, masker: Masker | None) -> None:
        self.path, self.offset_path, self.masker = folder / "output", folder / "offset", masker
        self.offset = self._known = int((self.offset_path.read_text() if self.offset_path.exists() else "") or 0)
        self._erased = False

    def read(self, *, final: bool = False) -> Iterator[Log]:
        """Yield what is there; the beginning of a line that is not complete yet only if `final`."""
        while text := self._peek():
            before = self._context()
            cut = self._cut(before, text, final=final)
            if not cut:
                return
            after = self.offset + len(text[:cut].encode("utf-8", "surrogateescape"))
            receipt = Receipt(partial(self._stored, after))
            yield Log(self._told(before, text, cut), receipt)
            self.offset = after
            if not receipt.kept:
                self._stored(after)

    def erase(self) -> None:
        """Remove what was written, as soon as all of it is stored elsewhere."""
        self._erased = True
        if self._known >= self.offset:
            self._truncate()

    def _stored(self, offset: int) -> None:
        self._known = max(self._known, offset)
        self._remember(self._known)
        if self._erased and self._known >= self.offset:
            self._truncate()

    def _truncate(self) -> None:
        with suppress(FileNotFoundError):
            os.truncate(self.path, 0)

    def _peek(self) -> str:
        data = self._bytes(self.offset, READ_SIZE)
        # A character of UTF-8 that is not all there yet waits for the rest.
        return codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(data, final=len(data) < READ_SIZE)

    def _bytes(self, offset: int, size: int) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _cut(self, before: str, text: str, *, final: bool) -> int:
        """How much of `text` may be told now, in characters."""
        complete = max(text.rfind("\n"), text.rfind("\r")) + 1
        full = len(text.encode("utf-8", "surrogateescape")) >= READ_SIZE - _LONGEST_CHARACTER
        if final and not full:
            return len(text)
        end = complete or (len(text) if full else 0)
        if self.masker is None or not end:
            return end
        # What may be the beginning of a secret waits for the rest, and its line with it.
        free = self.masker.cut(before + text[:end], len(before)) - len(before)
        whole_lines = end if free == end else max(text.rfind("\n", 0, free), text.rfind("\r", 0, free)) + 1
        return whole_lines or (full and (free or end)) or 0

    def _context(self) -> str:
        """What stands before the offset, as far as a secret that ends after it may reach back."""
        if self.masker is None or not self.offset:
            return ""
        size = min(self.offset, self.masker.context)
        return self._bytes(self.offset - size, size).decode("utf-8", "surrogateescape")

    def _told(self, before: str, text: str, cut: int) -> str:
        text = self.masker.mask(before + text, len(before), len(before) + cut) if self.masker else text[:cut]
        text = text.encode("utf-8", "surrogateescape").decode(errors="replace")
        # NUL: PostgreSQL cannot store it in a text.
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")

    def _remember(self, offset: int) -> None:
        # In place and of one length, so that no moment exists in which the file is empty. Where the disk takes
        # nothing, a later caller says some of it again: no reason to give up work that goes on.
        with suppress(OSError):
            descriptor = os.open(self.offset_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, f"{offset:020}".encode(), 0)
            finally:
                os.close(descriptor)
