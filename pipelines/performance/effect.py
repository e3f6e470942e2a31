"""What a release did to the site, in numbers and in one sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.performance.exact import odds_ratio_bounds, quantile_bounds, quantile_ratio_bounds
from pipelines.performance.metrics import METRICS, Metric
from pipelines.performance.sentences import amount, name
from pipelines.performance.verdict import QUANTILE, Reading

# Of a bound on either side: a difference that is said is one with 99 % confidence.
TAIL = 0.005
# A ratio that is certainly nearer to 1 than this, either way, is no change; a wider one that may be 1 says nothing.
ALIKE = 1.25
FEWEST = 50  # views, requests or visits on either side, below which nothing is said

Direction = Literal["better", "worse", "same", "unknown"]


@dataclass(frozen=True, slots=True)
class Effect:
    """`value` is the release's, `before` that of the one before (75th percentile in ms, score or share); each None
    where nothing was measured. `low` and `high` bound their ratio (of shares: of their odds)."""

    metric: str
    direction: Direction
    value: float | None
    before: float | None
    count: int
    count_before: int
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float | None:
        """1.2 is a fifth more than before."""
        return self.value / self.before if self.value is not None and self.before else None


def effects(ours: Reading, theirs: Reading | None) -> list[Effect]:
    """One for each metric that was measured at all."""
    found = [_effect(metric, ours, theirs or Reading()) for metric in METRICS.values()]
    return [effect for effect in found if effect.count or effect.count_before]


def _effect(metric: Metric, ours: Reading, theirs: Reading) -> Effect:
    if metric.kind in ("errors", "orders"):
        return _share(metric, ours, theirs)
    mine, other = ours.sketches.get(metric.source), theirs.sketches.get(metric.source)
    value = mine.quantile(QUANTILE) if mine else None
    before = other.quantile(QUANTILE) if other else None
    counts = (mine.count if mine else 0, other.count if other else 0)
    if not mine or not other or value is None or before is None or min(counts) < FEWEST:
        return Effect(metric.name, "unknown", value, before, *counts)
    bounds = quantile_ratio_bounds(
        quantile_bounds(mine, QUANTILE, TAIL), value, quantile_bounds(other, QUANTILE, TAIL), before
    )
    noticed = abs(value - before) > metric.unnoticed
    return Effect(
        metric.name, _direction(metric, bounds, noticed), value, before, *counts, bounds[0], _finite(bounds[1])
    )


def _share(metric: Metric, ours: Reading, theirs: Reading) -> Effect:
    (hits, count), (other_hits, other) = _hits(metric, ours), _hits(metric, theirs)
    value, before = (hits / count if count else None), (other_hits / other if other else None)
    if min(count, other) < FEWEST:
        return Effect(metric.name, "unknown", value, before, count, other)
    bounds = odds_ratio_bounds((hits, count), (other_hits, other), TAIL)
    return Effect(
        metric.name, _direction(metric, bounds, True), value, before, count, other, bounds[0], _finite(bounds[1])
    )


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None


def _hits(metric: Metric, reading: Reading) -> tuple[int, int]:
    counts = reading.counts
    if counts is None:
        return 0, 0
    if metric.kind == "errors":
        return min(counts.errors, counts.requests), counts.requests
    return min(counts.orders, counts.sessions), counts.sessions


def _direction(metric: Metric, bounds: tuple[float, float], noticed: bool) -> Direction:
    low, high = bounds
    if not noticed or (low <= 1 <= high and low >= 1 / ALIKE and high <= ALIKE):
        return "same"
    if low <= 1 <= high:
        return "unknown"
    more = low > 1
    return "better" if more == (metric.kind == "orders") else "worse"


def sentence(release: str, before: str, found: Sequence[Effect]) -> str:
    """What the release did, as one sentence. `before` is "" for the first release."""
    if not any(effect.count for effect in found):
        return f"Nothing was measured of {release} yet."
    if not before:
        return f"{release} is the first release here, so there is nothing to compare it with."
    told = {way: [effect for effect in found if effect.direction == way] for way in ("worse", "better", "same")}
    if not any(told.values()):
        return f"Too little was measured of {release} or of {before} to say what it changed."
    parts = [f"{_listed(told[way])} {_verb(told[way])} {way}" for way in ("worse", "better") if told[way]]
    if not parts:
        return f"{release} changed nothing that customers notice: {_names(told['same'])} as with {before}."
    rest = f"; {_names(told['same'])} as before" if told["same"] else ""
    return f"With {release}, {' and '.join(parts)} than with {before}{rest}."


def _verb(found: Sequence[Effect]) -> str:
    return "is" if len(found) == 1 and found[0].metric not in ("errors", "orders") else "are"


def _listed(found: Sequence[Effect]) -> str:
    return _and(
        [f"{name(one.metric)} ({amount(one.metric, one.before)} to {amount(one.metric, one.value)})" for one in found]
    )


def _names(found: Sequence[Effect]) -> str:
    return f"{_and([name(one.metric) for one in found])} {_verb(found)}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
