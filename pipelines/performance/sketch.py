"""A distribution in a few hundred bytes: counts in buckets whose borders grow by 2 %.

A quantile is within `ACCURACY` of the value that a list of all values would give. Sketches of minutes add up to
that of an hour, and those of two hosts to that of both, with nothing lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

ACCURACY = 0.01
GROWTH = 1.02
# The middle of a bucket is at most (GROWTH - 1) / (GROWTH + 1) of a value in it away from that value.
_MIDDLE = 2 / (1 + GROWTH)
_LOG = math.log(GROWTH)
SMALLEST, LARGEST = 1e-6, 1e9
_FORMAT = 1


class Sketch:
    """Counts of values from 0 to `LARGEST`, of any unit; below `SMALLEST` they count as 0."""

    __slots__ = ("_buckets", "_count", "_zeros")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self._zeros = self._count = 0
        for value in values:
            self.add(value)

    @property
    def count(self) -> int:
        return self._count

    def add(self, value: float, count: int = 1) -> None:
        """Raises ValueError for a value that is no number from 0 to `LARGEST`, or a count below 1."""
        if not 0 <= value <= LARGEST:
            raise ValueError(f"Expected a value from 0 to {LARGEST:g}, found {value!r}.")
        if count < 1:
            raise ValueError(f"Expected a count of at least 1, found {count!r}.")
        if value < SMALLEST:
            self._zeros += count
        else:
            index = _index(value)
            self._buckets[index] = self._buckets.get(index, 0) + count
        self._count += count

    def merge(self, other: Sketch) -> Sketch:
        """Adds what the other counted to this one, and returns this one."""
        for index, count in list(other._buckets.items()):
            self._buckets[index] = self._buckets.get(index, 0) + count
        self._zeros += other._zeros
        self._count += other._count
        return self

    def quantile(self, share: float) -> float | None:
        """The nearest-rank quantile; None without values."""
        if not 0 <= share <= 1:
            raise ValueError(f"Expected a share from 0 to 1, found {share!r}.")
        # Less a hair: 0.07 * 100 is 7.000000000000001, and the 7th value is meant.
        return self.at_rank(max(1, math.ceil(share * self._count - 1e-9))) if self._count else None

    def at_rank(self, rank: int) -> float:
        """The value that stands at `rank`, the smallest at 1. Raises ValueError where nothing stands."""
        if not 1 <= rank <= self._count:
            raise ValueError(f"Expected a rank from 1 to {self._count}, found {rank}.")
        seen = 0
        for value, count in self:
            seen += count
            if seen >= rank:
                return value
        raise AssertionError("the buckets hold as many as were counted")

    def rank(self, value: float) -> int:
        """How many values are in the bucket of `value` or below."""
        if value < SMALLEST:
            return self._zeros if value >= 0 else 0
        highest = _index(value)
        return self._zeros + sum(count for index, count in self._buckets.items() if index <= highest)

    def cdf(self, value: float) -> float | None:
        """The share of values at most `value`; None without values."""
        return self.rank(value) / self._count if self._count else None

    def to_bytes(self) -> bytes:
        """A version, the zeros, then for each bucket how far it is from the one before and its count."""
        numbers = [self._zeros, len(self._buckets)]
        before = 0
        for place, (index, count) in enumerate(sorted(self._buckets.items())):
            # Only the first may lie below zero; signs go into the last bit.
            numbers += [_unsigned(index) if place == 0 else index - before, count]
            before = index
        return bytes([_FORMAT]) + b"".join(map(_varint, numbers))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Sketch:
        """Raises ValueError for what `to_bytes` did not write."""
        data = bytes(data)
        if data[:1] != bytes([_FORMAT]):
            raise ValueError(f"Expected a sketch of format {_FORMAT}, found {data[:1].hex() or 'nothing'}.")
        numbers = _numbers(data[1:])
        sketch, index = cls(), 0
        try:
            sketch._zeros = next(numbers)
            for place in range(next(numbers)):
                step = next(numbers)
                index = _signed(step) if place == 0 else index + step
                count = next(numbers)
                if index in sketch._buckets or not _FIRST <= index <= _LAST or not count:
                    raise ValueError(f"Found a bucket {index} of {count}, which no value leads to.")
                sketch._buckets[index] = count
        except StopIteration:
            raise ValueError("The sketch ends in the middle of a bucket.") from None
        if next(numbers, None) is not None:
            raise ValueError("The sketch goes on after its last bucket.")
        sketch._count = sketch._zeros + sum(sketch._buckets.values())
        return sketch

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """(value, count), the smallest first."""
        if self._zeros:
            yield 0.0, self._zeros
        for index in sorted(self._buckets):
            yield GROWTH**index * _MIDDLE, self._buckets[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return (self._zeros, self._buckets) == (other._zeros, other._buckets)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Sketch of {self._count}, p75 {self.quantile(0.75)}>"


def _index(value: float) -> int:
    """The bucket that reaches to GROWTH**index."""
    return math.ceil(math.log(value) / _LOG)


_FIRST, _LAST = _index(SMALLEST), _index(LARGEST)


def _unsigned(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _signed(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("The sketch ends in the middle of a number.")
