"""Stands between a replica and the file of its output, and writes what it reads without secrets.

    python -P -S masking.py FILE DESCRIPTOR

The output comes in on standard input, the values to hide as a JSON list on DESCRIPTOR, which has no name on any disk.
It ends when nobody has the other end any more, and has written everything by then.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from pipelines.executors.masks import Masker

READ_SIZE = 65536
LARGEST = 5 * 2**20


class Bounded:
    """A file of at most about `largest` bytes, and what was before as FILE.1."""

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self.path, self.largest = path, largest
        self.descriptor = self._open()

    def write(self, text: str) -> None:
        # A disk that takes nothing costs the text; a replica that cannot write its output would stand still.
        with suppress(OSError):
            data = text.encode(errors="replace")
            if os.fstat(self.descriptor).st_size + len(data) > self.largest:
                self._begin_anew()
            while data:
                data = data[os.write(self.descriptor, data) :]

    def _begin_anew(self) -> None:
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        os.close(self.descriptor)
        self.descriptor = os.open(os.devnull, os.O_WRONLY)
        fresh = self._open()
        os.close(self.descriptor)
        self.descriptor = fresh

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def copy(source: int, out: Bounded, masker: Masker) -> None:
    """From the descriptor `source` to `out` until its end. What may be the beginning of a secret waits for the rest."""
    stream, decoder = masker.stream(), codecs.getincrementaldecoder("utf-8")("replace")
    while data := os.read(source, READ_SIZE):
        out.write(stream.feed(decoder.decode(data)))
    out.write(stream.feed(decoder.decode(b"", final=True)) + stream.end())


def main() -> None:
    file, descriptor = sys.argv[1:]
    with os.fdopen(int(descriptor), "rb") as given:
        masker = Masker(json.load(given))
    copy(sys.stdin.fileno(), Bounded(Path(file)), masker)


if __name__ == "__main__":
    main()
