"""A page that is drawn once and differs from visitor to visitor in a few places only. Pure, no Django.

The parts that are the same for all are compressed once. gzip allows it: a deflate stream that was flushed in full can
be followed by any other, so a page is put together from compressed parts without compressing them again.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from functools import cached_property

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"


class Piece:
    """Some text, as it is and, once that is asked for, deflated up to a byte's boundary."""

    def __init__(self, text: str, *, level: int = 6) -> None:
        self.plain = text.encode()
        self._level = level

    @cached_property
    def deflated(self) -> bytes:
        packer = zlib.compressobj(self._level, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.plain) + packer.flush(zlib.Z_FULL_FLUSH)


def slot(name: str) -> str:
    """What stands in a page's source for the place called `name`."""
    return f"\x02{name}\x03"


class Page:
    """HTML with slots."""

    def __init__(self, html: str) -> None:
        parts = re.split("\x02([a-z]+)\x03", html)
        self._parts: list[Piece | str] = [
            part if at % 2 else Piece(part, level=9) for at, part in enumerate(parts) if part
        ]

    def plain(self, filling: Mapping[str, Piece]) -> bytes:
        return b"".join(part.plain for part in self._filled(filling))

    def gzipped(self, filling: Mapping[str, Piece]) -> bytes:
        parts = self._filled(filling)
        crc = length = 0
        for part in parts:
            crc = zlib.crc32(part.plain, crc)
            length += len(part.plain)
        trailer = struct.pack("<II", crc, length & 0xFFFFFFFF)
        return b"".join([_HEADER, *(part.deflated for part in parts), _LAST_BLOCK, trailer])

    def _filled(self, filling: Mapping[str, Piece]) -> list[Piece]:
        return [filling[part] if isinstance(part, str) else part for part in self._parts]
