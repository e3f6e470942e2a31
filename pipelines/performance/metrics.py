"""What agents measure that says how a site does for its customers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["duration", "score", "errors", "orders"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`source` is what agents measure it as. `tolerance` is the ratio to the baseline that a budget allows unless it
    says so itself. A difference up to `unnoticed` (in the metric's unit) is none. At most `good` is good, above `poor`
    is poor, as published for the vitals."""

    name: str
    label: str
    kind: Kind
    source: str
    tolerance: float | None
    unnoticed: float = 0.0
    good: float | None = None
    poor: float | None = None


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("lcp", "Largest contentful paint", "duration", "LCP", 1.1, 10, 2500, 4000),
        Metric("inp", "Interaction to next paint", "duration", "INP", 1.1, 16, 200, 500),
        Metric("cls", "Cumulative layout shift", "score", "CLS", None, 0, 0.1, 0.25),
        Metric("fcp", "First contentful paint", "duration", "FCP", 1.1, 10, 1800, 3000),
        Metric("ttfb", "Time to first byte", "duration", "TTFB", 1.1, 10, 800, 1800),
        Metric("latency", "Time the server takes", "duration", "duration", 1.1, 5),
        Metric("errors", "Answers of 500 and above", "errors", "", 2.0),
        Metric("orders", "Orders a session", "orders", "", 0.7),
    )
}
