"""A verdict in words."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.performance.budgets import Budget
from pipelines.performance.metrics import METRICS
from pipelines.performance.verdict import LOOKS, Assessment, Finding

NAMES = {"latency": "latency", "errors": "errors", "orders": "orders a session"}


def name(metric: str) -> str:
    return NAMES.get(metric, metric.upper())


def describe(budget: Budget) -> str:
    """A budget: "LCP at most 2,500 ms and 1.1 times the baseline's"."""
    metric = budget.metric
    if metric.kind == "orders":
        return f"{name(metric.name)} at least {times(budget.tolerance)} of the baseline's"
    compared = "" if budget.tolerance is None else f"{times(budget.tolerance)} times the baseline's"
    limit = amount(metric.name, budget.limit)
    # Few errors are few, whatever they are compared with.
    between = " or " if metric.kind == "errors" else " and "
    return f"{name(metric.name)} at most {between.join(part for part in (limit, compared) if part)}"


def amount(metric: str, value: float | None) -> str:
    """A value with its unit: "612 ms", "0.31 %", "0.08"; "" for none."""
    if value is None:
        return ""
    kind = METRICS[metric].kind
    if kind == "duration":
        return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
    if kind == "score":
        return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return f"{value:.2%}"


def summary(assessment: Assessment, beside: str) -> str:
    """Why it is as it is, as one sentence. `beside` is the baseline's name, "" for none."""
    found = assessment.findings
    if worse := [finding for finding in found if finding.state == "beyond"]:
        return "; ".join(_beyond(finding, beside) for finding in worse) + "."
    if assessment.state == "pass":
        judged = [finding for finding in found if finding.state == "inside"]
        return "; ".join(_inside(finding, beside) for finding in judged) + "."
    undecided = [_open(finding, beside) for finding in found if finding.state == "open"]
    return "; ".join(undecided or [few(found)]) + "."


def few(findings: Sequence[Finding]) -> str:
    """How little was measured of what is not decided: "LCP 0, errors 12, of 100 each", "LCP 0 of 100, errors 221 of
    400"."""
    left = [finding for finding in findings if finding.state == "open"]
    if not left:
        return "every budget compares, and there is nothing to compare with"
    if any(finding.look for finding in left):
        return ", ".join(f"{name(finding.metric)} {_progress(finding)}" for finding in left)
    return f"{', '.join(f'{name(finding.metric)} {finding.seen:,}' for finding in left)}, of {LOOKS[0]} each"


def progress(findings: Sequence[Finding]) -> str:
    """How far the measurements of customers are, in a few words."""
    left = [finding for finding in findings if finding.state == "open"]
    if not left:
        return "customers: every metric is inside its budget"
    return "customers: " + ", ".join(f"{name(finding.metric)} {_progress(finding)}" for finding in left)


def _progress(finding: Finding) -> str:
    coming = next((size for size in LOOKS if size > finding.seen), None)
    return "undecided" if coming is None else f"{finding.seen:,} of {coming:,}"


def _beyond(finding: Finding, beside: str) -> str:
    if finding.baseline is None:
        return f"{_is(finding)}, at least {_bound(finding, finding.at_least)}; {_limit(finding)} is the limit"
    compared = f"{_is(finding)}, {amount(finding.metric, finding.baseline)} of {beside}"
    if finding.metric == "orders":
        return f"{compared}: of its odds {times(finding.at_most)} remain at most, {times(finding.tolerance)} have to"
    if finding.tolerance is None or (finding.at_least or 0) <= finding.tolerance:
        return f"{compared}, and certainly more than its limit of {_limit(finding)}"
    return f"{compared}: at least {times(finding.at_least)} times as much, {times(finding.tolerance)} are allowed"


def _inside(finding: Finding, beside: str) -> str:
    if finding.baseline is None:
        return f"{_is(finding)}, at most {_bound(finding, finding.at_most)}"
    return f"{_is(finding)}, {amount(finding.metric, finding.baseline)} of {beside}"


def _open(finding: Finding, beside: str) -> str:
    if finding.doubted:
        measured = f"{_is(finding)} of {finding.count:,} measured"
        return f"{measured}, likely more than its limit of {_limit(finding)}, and too few to be sure"
    if not finding.look:
        of = f" and {finding.baseline_count} of {beside}" if finding.baseline_count is not None else ""
        return f"{name(finding.metric)}: {finding.count} measured{of}, too few to say"
    if finding.baseline is None:
        return f"{_is(finding)}, at most {_bound(finding, finding.at_most) or 'unknown'}, too close to say"
    low, high = times(finding.at_least) or "?", times(finding.at_most) or "?"
    allowed = f", {times(finding.tolerance)} are allowed" if finding.tolerance else ""
    return f"{_is(finding)}, {amount(finding.metric, finding.baseline)} of {beside}: {low} to {high} times{allowed}"


def _is(finding: Finding) -> str:
    return f"{name(finding.metric)} {amount(finding.metric, finding.value)}"


def _bound(finding: Finding, bound: float | None) -> str:
    return amount(finding.metric, bound)


def _limit(finding: Finding) -> str:
    return amount(finding.metric, finding.limit)


def times(ratio: float | None) -> str:
    """A ratio, "" for none."""
    return "" if ratio is None else f"{ratio:.3g}"
