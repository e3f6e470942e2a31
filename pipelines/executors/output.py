"""What a kept command wrote, handed over in masked pieces, by whichever worker follows it at the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipelines.executors.base import Log, Receipt

READ_SIZE = 65536

Mask = Callable[[str], str]


class Output:
    """What the command wrote, from where the last caller stopped.

    It is cut at ends of lines. A line that is longer than `READ_SIZE` is cut where nothing that the mask
    would replace is torn apart.
    """

    def __init__(self, folder: Path, mask: Mask) -> None:
        self.path, self.offset_path, self.mask = folder / "output", folder / "offset", mask
        self.offset = self._known = int((self.offset_path.read_text() if self.offset_path.exists() else "") or 0)
        self._erased = False

    def read(self, *, final: bool = False) -> Iterator[Log]:
        """Yield what is there; the beginning of a line that is not complete yet only if `final`."""
        while cut := self._cut(data := self._peek(), final=final):
            after = self.offset + cut
            receipt = Receipt(partial(self._stored, after))
            yield Log(self._masked(data[:cut]), receipt)
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

    def _peek(self) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                return file.read(READ_SIZE)
        except FileNotFoundError:
            return b""

    def _cut(self, data: bytes, *, final: bool) -> int:
        if end := max(data.rfind(b"\n"), data.rfind(b"\r")) + 1:
            return end
        if len(data) < READ_SIZE:
            return len(data) if final else 0
        return next((cut for cut in self._candidates(data) if not self._tears(data, cut)), len(data))

    @staticmethod
    def _candidates(data: bytes) -> Iterator[int]:
        for sixteenth in range(15, 0, -1):
            cut = len(data) * sixteenth // 16
            while cut and data[cut] & 0xC0 == 0x80:  # inside a character of UTF-8
                cut -= 1
            if cut:
                yield cut

    def _tears(self, data: bytes, cut: int) -> bool:
        return self._masked(data[:cut]) + self._masked(data[cut:]) != self._masked(data)

    def _masked(self, data: bytes) -> str:
        # NUL: PostgreSQL cannot store it in a text.
        return self.mask(data.decode(errors="replace")).replace("\0", "\N{REPLACEMENT CHARACTER}")

    def _remember(self, offset: int) -> None:
        # In place and of one length, so that no moment exists in which the file is empty. Where the disk takes
        # nothing, a later caller says some of it again: no reason to give up work that goes on.
        with suppress(OSError):
            descriptor = os.open(self.offset_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, f"{offset:020}".encode(), 0)
            finally:
                os.close(descriptor)
