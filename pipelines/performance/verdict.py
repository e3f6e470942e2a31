"""Whether a release made the site worse, from what its customers' browsers and its servers measured.

A canary is compared with the release that served other customers in the same minutes. Each metric has two bounds. It is
*beyond* its budget when it is so even by the bound that flatters it, *inside* when it is so even by the bound that does
not. One metric beyond fails; all inside pass; everything else waits for more, and in the end for a person.

It is looked at when `LOOKS` sizes are reached and not in between, because who looks often enough finds something by
chance. `FAIL_ERROR` and `PASS_ERROR` are the most that all looks together may be wrong: the first is spent evenly on
all bounds of all looks that could fail (Bonferroni), the second evenly on the looks, since a pass needs every metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

from pipelines.performance.budgets import Budget
from pipelines.performance.exact import (
    Interval,
    odds_ratio_bounds,
    quantile_bounds,
    quantile_ratio_bounds,
    share_bounds,
)
from pipelines.performance.sketch import Sketch

QUANTILE = 0.75
# Of the smaller side: page views, requests or sessions, as the metric has it.
LOOKS = (100, 200, 400, 800, 1600, 3200, 6400, 12800)
# Of the release itself: views or answers after which what is beyond its limit for sure fails it before the first look,
# at which nothing passes. Exact bounds hold of few as well.
EARLY = (25, 50, *LOOKS)
# What a metric that has no tolerance may be by a baseline that misses its limit too.
MISSED_TOLERANCE = 1.1
# A share of errors up to which it does not matter how many times it is the baseline's.
FEW_ERRORS = 0.001
FAIL_ERROR, PASS_ERROR = 0.02, 0.05

METHOD = (
    "75th percentiles: order statistics by the binomial distribution, ratios by MOVER on logarithms; shares: "
    "Clopper-Pearson; errors and orders against the baseline: Fisher's exact test, inverted; against a limit: the "
    "release's own, from 25 on"
)


class Counts(Protocol):
    """What servers counted."""

    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def sessions(self) -> int: ...
    @property
    def orders(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured of one release: its distributions by the metric's source, and its counts."""

    sketches: Mapping[str, Sketch] = field(default_factory=dict)
    counts: Counts | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric at its last look, or before its first (`look` 0). `value` and `baseline` are 75th percentiles in ms,
    scores or shares; `count` and `baseline_count` are what they are of, `seen` what the smaller side has by now.
    `ratio` is `value` by `baseline` (of shares: of their odds). `at_least` and `at_most` bound what is compared with
    `tolerance`, or where there is no baseline with `limit`. It is `unjudged` where its budget only compares and there
    is nothing to compare with. Before the first look it is `doubted` where the few that were measured of the release
    are beyond the limit, which is likely and not sure."""

    metric: str
    state: Literal["inside", "beyond", "open", "unjudged"] = "open"
    look: int = 0
    count: int = 0
    baseline_count: int | None = None
    seen: int = 0
    value: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    tolerance: float | None = None
    limit: float | None = None
    doubted: bool = False

    @property
    def speaks_against(self) -> bool:
        """Whether what was measured is over what is allowed, be it by chance."""
        if self.value is None or self.doubted:
            return self.doubted
        orders, errors = self.metric == "orders", self.metric == "errors"
        ratio = self.ratio if self.ratio is not None else math.inf if self.value and not orders else 0.0
        keeps_limit = self.limit is None or self.value <= self.limit
        if orders:
            return self.tolerance is not None and self.ratio is not None and self.ratio < self.tolerance
        keeps_ratio = self.tolerance is None or ratio <= self.tolerance or not self.baseline_count
        if errors and self.limit is not None and self.tolerance is not None:
            return not keeps_limit and not keeps_ratio
        return not (keeps_limit and keeps_ratio)


@dataclass(frozen=True, slots=True)
class Assessment:
    """`state` is `wait` while more measurements may decide it, `unclear` once no look is left."""

    state: Literal["pass", "fail", "wait", "unclear"]
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "findings": [asdict(finding) for finding in self.findings],
            "rule": {"looks": list(LOOKS), "fail_error": FAIL_ERROR, "pass_error": PASS_ERROR, "method": METHOD},
        }


@dataclass(frozen=True, slots=True)
class _Tails:
    fail: float
    passes: float


def assess(
    budgets: Sequence[Budget], ours: Reading, theirs: Reading | None, before: Sequence[Finding] = ()
) -> Assessment:
    """Judge what has been measured by now. `theirs` is the concurrent baseline, None where there is none: then limits
    alone count. `before` is what the last call found; metrics that have not reached their next look stay as they were.
    """
    known = {finding.metric: finding for finding in before}
    tests = len(LOOKS) * sum((b.limit is not None) + (theirs is not None) for b in budgets)
    tests += len(EARLY) * sum(_may_fail_early(b) for b in budgets)
    tails = _Tails(FAIL_ERROR / max(1, tests), PASS_ERROR / len(LOOKS))
    found = tuple(
        _look(budget, ours, theirs, known.get(budget.metric.name) or _unseen(budget, theirs), tails)
        for budget in budgets
    )
    return Assessment(_state(found), found)


def _unseen(budget: Budget, theirs: Reading | None) -> Finding:
    """Before the first look: what is allowed is known by then."""
    return Finding(budget.metric.name, limit=budget.limit, tolerance=None if theirs is None else budget.tolerance)


def _state(found: Sequence[Finding]) -> Literal["pass", "fail", "wait", "unclear"]:
    if any(finding.state == "beyond" for finding in found):
        return "fail"
    judged = [finding for finding in found if finding.state != "unjudged"]
    if judged and all(finding.state == "inside" for finding in judged):
        return "pass"
    return "wait" if any(f.state == "open" and f.look < len(LOOKS) for f in found) else "unclear"


def _look(budget: Budget, ours: Reading, theirs: Reading | None, before: Finding, tails: _Tails) -> Finding:
    count, other = _count(budget, ours), None if theirs is None else _count(budget, theirs)
    fewest = count if other is None else min(count, other)
    look = sum(size <= fewest for size in LOOKS)
    if theirs is None and budget.limit is None:
        return Finding(budget.metric.name, "unjudged", count=count, tolerance=budget.tolerance)
    if look <= before.look:
        # Decided at looks only; that something comes is shown in between. What is kept no longer counts no less.
        if before.look or before.state == "beyond":
            return replace(before, seen=fewest)
        return _early(
            budget, ours, theirs, replace(before, count=count, baseline_count=other, seen=fewest), before, tails
        )
    if budget.metric.kind in ("errors", "orders"):
        finding = _shares(budget, ours, theirs, tails)
    else:
        finding = _quantiles(budget, ours, theirs, tails)
    return replace(finding, look=look, count=count, baseline_count=other, seen=fewest)


def _may_fail_early(budget: Budget) -> bool:
    return budget.limit is not None


def _early(
    budget: Budget, ours: Reading, theirs: Reading | None, now: Finding, before: Finding, tails: _Tails
) -> Finding:
    """Before the first look at both sides: whether what was measured of the release alone is beyond its limit."""
    limit = budget.limit
    if limit is None or not any(before.count < size <= now.count for size in EARLY):
        return now
    if theirs is not None and _misses(budget, theirs, limit):
        return replace(now, doubted=False)
    value, (least, most) = _own(budget, ours, tails.fail)
    if least > limit:
        return replace(now, state="beyond", value=value, at_least=least, at_most=_finite(most))
    doubted = _own(budget, ours, PASS_ERROR)[1][0] > limit
    return replace(now, doubted=doubted, value=value if doubted else None)


def _misses(budget: Budget, theirs: Reading, limit: float) -> bool:
    """Whether the baseline misses the limit too, if it has enough to know: one bad answer of a few is no excuse."""
    count = _count(budget, theirs)
    least = LOOKS[0] if budget.metric.kind == "errors" else EARLY[0]
    return count >= least and _own(budget, theirs, PASS_ERROR)[0] > limit


def _own(budget: Budget, reading: Reading, tail: float) -> tuple[float, Interval]:
    """The value of one release, and its bounds."""
    if budget.metric.kind == "errors":
        hits = _hits(budget, reading)
        return hits[0] / hits[1], share_bounds(*hits, tail)
    sketch = reading.sketches[budget.metric.source]
    return sketch.quantile(QUANTILE) or 0.0, quantile_bounds(sketch, QUANTILE, tail)


def _count(budget: Budget, reading: Reading) -> int:
    """How much was measured, in what the metric is measured of."""
    if budget.metric.kind == "errors":
        return reading.counts.requests if reading.counts else 0
    if budget.metric.kind == "orders":
        return reading.counts.sessions if reading.counts else 0
    found = reading.sketches.get(budget.metric.source)
    return found.count if found else 0


def _quantiles(budget: Budget, ours: Reading, theirs: Reading | None, tails: _Tails) -> Finding:
    mine = ours.sketches[budget.metric.source]
    value = mine.quantile(QUANTILE) or 0.0
    own = _Pair(*(quantile_bounds(mine, QUANTILE, tail) for tail in (tails.fail, tails.passes)))
    if theirs is None:
        return _alone(budget, value, own)
    other = theirs.sketches[budget.metric.source]
    baseline = other.quantile(QUANTILE) or 0.0
    tolerance = budget.tolerance
    if tolerance is not None and baseline > 0:
        tolerance = max(tolerance, 1 + budget.metric.unnoticed / baseline)
    both = [
        quantile_ratio_bounds(bounds, value, quantile_bounds(other, QUANTILE, tail), baseline)
        for bounds, tail in ((own.fail, tails.fail), (own.passes, tails.passes))
    ]
    return _against(replace(budget, tolerance=tolerance), value, baseline, own, _Pair(*both))


def _shares(budget: Budget, ours: Reading, theirs: Reading | None, tails: _Tails) -> Finding:
    hits = _hits(budget, ours)
    own = _Pair(*(share_bounds(*hits, tail) for tail in (tails.fail, tails.passes)))
    value = hits[0] / hits[1]
    if theirs is None:
        return _alone(budget, value, own)
    others = _hits(budget, theirs)
    both = _Pair(*(odds_ratio_bounds(hits, others, tail) for tail in (tails.fail, tails.passes)))
    return _against(budget, value, others[0] / others[1], own, both)


def _hits(budget: Budget, reading: Reading) -> tuple[int, int]:
    counts = reading.counts
    if counts is None:
        return 0, 0
    if budget.metric.kind == "errors":
        return min(counts.errors, counts.requests), counts.requests
    # Who orders twice in a session is one customer who was not lost.
    return min(counts.orders, counts.sessions), counts.sessions


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same bounds at the two tails."""

    fail: Interval
    passes: Interval


def _alone(budget: Budget, value: float, own: _Pair) -> Finding:
    """Without a baseline the limit alone counts."""
    limit = math.inf if budget.limit is None else budget.limit
    finding = Finding(
        budget.metric.name, value=value, limit=budget.limit, at_least=own.fail[0], at_most=_finite(own.passes[1])
    )
    if own.fail[0] > limit:
        return replace(finding, state="beyond")
    return replace(finding, state="inside" if own.passes[1] <= limit else "open")


def _against(budget: Budget, value: float, baseline: float, own: _Pair, ratio: _Pair) -> Finding:
    finding = Finding(
        budget.metric.name,
        value=value,
        baseline=baseline,
        ratio=_odds_ratio(value, baseline) if budget.metric.kind in ("errors", "orders") else _by(value, baseline),
        tolerance=budget.tolerance,
        limit=budget.limit,
    )
    # A limit that the baseline misses as well is not this release's doing; that it is missed by more is.
    missed_before = budget.limit is not None and baseline > budget.limit
    tolerance = MISSED_TOLERANCE if missed_before and budget.tolerance is None else budget.tolerance
    if tolerance is not None:
        finding = replace(finding, tolerance=tolerance, at_least=ratio.fail[0], at_most=_finite(ratio.passes[1]))
    if budget.metric.kind == "orders":
        return _orders(finding, ratio)
    keeps_ratio = tolerance is None or ratio.passes[1] <= tolerance
    keeps_limit = budget.limit is None or own.passes[1] <= budget.limit
    worse = tolerance is not None and ratio.fail[0] > tolerance
    over = budget.limit is not None and own.fail[0] > budget.limit and not missed_before
    if budget.metric.kind == "errors":
        # Few errors are few, however many times fewer the baseline had.
        worse = worse and own.fail[0] > FEW_ERRORS
        inside = (budget.limit is not None and keeps_limit) or keeps_ratio
    else:
        inside = keeps_ratio and (keeps_limit or missed_before)
    if worse or over:
        return replace(finding, state="beyond")
    return replace(finding, state="inside" if inside else "open")


def _orders(finding: Finding, ratio: _Pair) -> Finding:
    """Here less is worse: the upper bound is the one that flatters."""
    finding = replace(finding, at_least=ratio.passes[0], at_most=_finite(ratio.fail[1]))
    if finding.tolerance is None:
        return finding
    if ratio.fail[1] < finding.tolerance:
        return replace(finding, state="beyond")
    return replace(finding, state="inside" if ratio.passes[0] >= finding.tolerance else "open")


def _finite(bound: float) -> float | None:
    """JSON knows no infinity."""
    return bound if math.isfinite(bound) else None


def _by(value: float, baseline: float) -> float | None:
    return value / baseline if baseline > 0 else None


def _odds_ratio(value: float, baseline: float) -> float | None:
    if baseline <= 0 or value >= 1:
        return None
    return value / (1 - value) * (1 - baseline) / baseline
