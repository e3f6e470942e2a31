"""A verdict's numbers as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.performance.metrics import METRICS
from pipelines.performance.sentences import amount, name, times

# What a finding is called, and whose sign it has.
_STATES = {
    "inside": ("succeeded", "inside"),
    "beyond": ("failed", "beyond"),
    "open": ("waiting", "undecided"),
    "unjudged": ("skipped", "not judged"),
}
_VERDICTS = {
    "pass": ("succeeded", "good enough"),
    "fail": ("failed", "worse"),
    "unclear": ("waiting", "undecided"),
    "inconclusive": ("waiting", "undecided"),
    "wait": ("running", "being measured"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric, each cell as it is read; `state` names the sign of `word`."""

    metric: str
    label: str
    state: str
    word: str
    ours: str
    theirs: str
    ratio: str
    bounds: str
    allowed: str
    measured: str
    look: str


def table(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `_verdict.html` draws of a measurement that told `customers`; None where it asked none."""
    customers = told.get("customers")
    if not customers:
        return None
    state, word = _VERDICTS.get(str(told.get("state") or customers["state"]), ("waiting", ""))
    if told.get("state") == "pass" and customers["state"] != "pass":
        state, word = "skipped", "too few to say"  # and probes decided
    rule = customers["rule"]
    return {
        "state": state,
        "word": word,
        "step": told.get("step"),
        "reason": told.get("reason", ""),
        "release": customers["release"],
        "beside": customers["beside"],
        "rows": [_row(finding, len(rule["looks"])) for finding in customers["findings"]],
        "rule": rule | {"fail": f"{rule['fail_error']:.0%}", "passes": f"{rule['pass_error']:.0%}"},
    }


def tables(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [found for one in told if (found := table(one))]


def _row(finding: Mapping[str, Any], looks: int) -> Row:
    metric = finding["metric"]
    state, word = _STATES[finding["state"]]
    return Row(
        metric=name(metric),
        label=METRICS[metric].label,
        state=state,
        word=word,
        ours=amount(metric, finding["value"]),
        theirs=amount(metric, finding["baseline"]),
        ratio=times(finding["ratio"]),
        bounds=_bounds(finding),
        allowed=_allowed(finding),
        measured=_measured(finding),
        look=f"{finding['look']} of {looks}" if finding["look"] else "",
    )


def _bounds(finding: Mapping[str, Any]) -> str:
    metric, low, high = finding["metric"], finding["at_least"], finding["at_most"]
    if low is None and high is None:
        return ""
    if finding["baseline"] is None:
        return f"{amount(metric, low)} to {amount(metric, high) or '?'}"
    return f"{times(low)} to {times(high) or '?'}"


def _allowed(finding: Mapping[str, Any]) -> str:
    metric, tolerance, limit = finding["metric"], finding["tolerance"], finding["limit"]
    ratio = "" if tolerance is None else f"{'from ' if metric == 'orders' else ''}{times(tolerance)} times"
    between = " or " if metric == "errors" else ", "
    return between.join(part for part in (ratio, amount(metric, limit)) if part)


def _measured(finding: Mapping[str, Any]) -> str:
    ours, theirs = finding["count"], finding["baseline_count"]
    return f"{ours:,}" if theirs is None else f"{ours:,} / {theirs:,}"
