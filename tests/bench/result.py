"""The shape of one figure, and how it is judged."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Result:
    """`ours` and `floor` are in `unit`; `ratio` is ours by floor. The goal is the most that `judged` may be.

    `ours` is None where nothing could be measured, which `note` explains. A figure without a floor has None there.
    """

    name: str
    ours: float | None
    floor: float | None
    goal: float
    unit: str
    judged: Literal["ratio", "ours"] = "ratio"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.ours is None or not self.floor else self.ours / self.floor

    @property
    def passed(self) -> bool | None:
        """None: it was not measured."""
        value = self.ratio if self.judged == "ratio" else self.ours
        return None if value is None else value <= self.goal

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "passed": self.passed}


def from_dict(data: dict[str, Any]) -> Result:
    """A result as a benchmark printed it; one that says no more than its ratio's goal is judged by that."""
    known = {key: data[key] for key in ("unit", "judged", "note") if key in data}
    return Result(data["name"], data["ours"], data["floor"], data["goal"], **{"unit": "ms"} | known)


def tell(results: Sequence[Result]) -> None:
    """How a benchmark's own process hands its results to the one that started it."""
    print(json.dumps([result.as_dict() for result in results]), flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are at most as large as."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
