"""What was measured: one sample for each request, in a file that only grows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    `asked` is the release that was asked for ("" for whichever the router chose), `served` the one that
    answered. `problem` is why the answer is not good, "" for a good one. `measured` is False where nothing
    can be said about the release: this machine could not send, or another release answered. `at` is the time
    that was soaked when the answer came, in seconds, `ms` how long it took.
    """

    path: str
    ms: float = 0.0
    status: int = 0
    asked: str = ""
    served: str = ""
    problem: str = ""
    measured: bool = True
    at: float = 0.0


Samples = Sequence[Sample]


class Record:
    """The samples of one soak; a soak that was cut off goes on after the last of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = list(self._read())

    @property
    def soaked(self) -> float:
        """Seconds."""
        return self.samples[-1].at if self.samples else 0.0

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        # In one write, so that a kill leaves a whole line or none.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(asdict(sample)) + "\n").encode())
        finally:
            os.close(descriptor)

    def _read(self) -> Iterator[Sample]:
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                yield Sample(**json.loads(line))
            except (ValueError, TypeError):
                # The disk was full or the machine went down in the middle of it: one sample less.
                continue
