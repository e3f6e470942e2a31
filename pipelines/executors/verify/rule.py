"""From samples to a verdict. Pure.

Each share (of answers that are not good, of slow answers) stands between exact Clopper-Pearson bounds. A
share above its limit fails only when its lower bound is above, too; until then nobody can know, and a person
decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipelines.executors.verify.samples import Sample, Samples
from pipelines.executors.verify.settings import Settings

SLOW_SHARE = 0.05  # of all answers may take longer than `p95_ms`: that is what a 95th percentile says


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is a sentence for people, `numbers` what it was decided from: see `numbers`."""

    state: Literal["pass", "fail", "inconclusive"]
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


class Rule(Protocol):
    """How samples are judged. Other rules may use other measurements and other statistics."""

    def judge(self, samples: Samples, settings: Settings) -> Verdict: ...


def bounds(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share of which `hits` in `count` were seen; (0, 1) without any."""
    if not count:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: 1 - _at_most(hits - 1, count, p), tail)
    high = 1.0 if hits == count else _solve(lambda p: 1 - _at_most(hits, count, p), 1 - tail)
    return low, high


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _at_most(hits: int, count: int, share: float) -> float:
    """The probability of at most `hits` in `count` where each has the probability `share`, 0 < share < 1."""
    yes, no = math.log(share), math.log1p(-share)
    whole = math.lgamma(count + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * yes + (count - k) * no)
        for k in range(hits + 1)
    )


def percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile, None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(samples: Samples, settings: Settings) -> dict[str, Any]:
    """count, errors, slow, the bounds of their shares, and percentiles in ms of the answers that came."""
    answered = [sample.ms for sample in samples if sample.status]
    errors = sum(bool(sample.problem) for sample in samples)
    slow = sum(ms > settings.p95_ms for ms in answered)
    low, high = bounds(errors, len(samples), settings.confidence)
    slow_low, slow_high = bounds(slow, len(answered), settings.confidence)
    return {
        "count": len(samples),
        "errors": errors,
        "error_rate": errors / len(samples) if samples else None,
        "error_rate_bounds": [round(low, 6), round(high, 6)],
        "slow": slow,
        "slow_bounds": [round(slow_low, 6), round(slow_high, 6)],
        **{f"p{p}_ms": _rounded(percentile(answered, p / 100)) for p in (50, 95, 99)},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def numbers(samples: Samples, settings: Settings) -> dict[str, Any]:
    """Everything that a verdict rests on, as JSON values.

    `total`, one summary for each of `paths`, how often each of `problems` occurred, how many samples each of
    the `releases` gave, how many requests were `unmeasured`, the seconds `soaked`, the `baseline`'s summary,
    and the name of the `method` of the bounds.
    """
    measured = _of_candidate(samples, settings)
    result: dict[str, Any] = {
        "total": summary(measured, settings),
        "paths": {path: summary(_on(measured, path), settings) for path in settings.paths},
        "problems": dict(Counter(sample.problem for sample in samples if sample.problem).most_common(10)),
        "releases": dict(sorted(Counter(sample.served for sample in measured if sample.served).items())),
        "unmeasured": sum(not sample.measured for sample in samples),
        "soaked": round(samples[-1].at, 3) if samples else 0.0,
        "method": f"Clopper-Pearson, {settings.confidence:.1%}",
    }
    if settings.baseline:
        result["baseline"] = summary(_of_baseline(samples, settings), settings)
    return result


def _of_candidate(samples: Samples, settings: Settings) -> list[Sample]:
    return [s for s in samples if s.measured and not (settings.baseline and s.asked == settings.baseline)]


def _of_baseline(samples: Samples, settings: Settings) -> list[Sample]:
    return [s for s in samples if s.measured and s.asked == settings.baseline]


def _on(samples: Samples, path: str) -> list[Sample]:
    return [sample for sample in samples if sample.path == path]


class Bounds:
    """Passes when every limit is kept, fails when one is certainly not, and knows when it cannot say."""

    def judge(self, samples: Samples, settings: Settings) -> Verdict:
        found = numbers(samples, settings)
        total = found["total"]
        if total["count"] < settings.minimum_samples:
            reason = f"{total['count']} samples are too few; {settings.minimum_samples} were asked for."
            return Verdict("inconclusive", f"{reason}{_unmeasured(found)}", found)
        if unseen := [path for path, numbers in found["paths"].items() if not numbers["count"]]:
            return Verdict("inconclusive", f"Nothing was measured on {', '.join(unseen)}.", found)
        parts = {"": total, **{f" on {path}": numbers for path, numbers in found["paths"].items()}}
        if failures := [text for where, part in parts.items() for text in _failures(where, part, settings)]:
            return Verdict("fail", f"{'; '.join(failures[:3])}.{_causes(found)}", found)
        if worse := _worse(found):
            return Verdict("fail", worse, found)
        if doubts := _doubts(total, settings):
            return Verdict("inconclusive", f"{'; '.join(doubts)}.{_causes(found)}", found)
        return Verdict("pass", _praise(total), found)


def _failures(where: str, part: Mapping[str, Any], settings: Settings) -> list[str]:
    found = []
    if part["error_rate_bounds"][0] > settings.error_rate:
        found.append(
            f"{part['errors']} of {part['count']} answers{where} were not good, "
            f"at most {settings.error_rate:.2%} may be"
        )
    if part["slow_bounds"][0] > SLOW_SHARE:
        found.append(f"p95{where} is {part['p95_ms']:g} ms, at most {settings.p95_ms:g} ms is asked for")
    return found


def _worse(found: Mapping[str, Any]) -> str:
    """Certainly worse than the baseline: the bounds do not meet."""
    baseline, total = found.get("baseline"), found["total"]
    if not baseline or not baseline["count"]:
        return ""
    if total["error_rate_bounds"][0] <= baseline["error_rate_bounds"][1]:
        return ""
    ours, theirs = total["error_rate"], baseline["error_rate"]
    return f"{ours:.2%} of the answers were not good, {theirs:.2%} of the baseline's."


def _doubts(total: Mapping[str, Any], settings: Settings) -> list[str]:
    found = []
    if total["error_rate"] > settings.error_rate:
        low, high = total["error_rate_bounds"]
        found.append(
            f"{total['errors']} of {total['count']} answers were not good, too few to say whether more than "
            f"{settings.error_rate:.2%} are (the share is from {low:.2%} to {high:.2%})"
        )
    if total["p95_ms"] is None:
        found.append("no answer came, so there is no latency")
    elif total["p95_ms"] > settings.p95_ms:
        found.append(f"p95 is {total['p95_ms']:g} ms, above {settings.p95_ms:g} ms, but of too few answers to be sure")
    return found


def _unmeasured(found: Mapping[str, Any]) -> str:
    count = found["unmeasured"]
    return f" {count} more requests measured nothing.{_causes(found)}" if count else ""


def _causes(found: Mapping[str, Any]) -> str:
    causes = [f"{problem} ({count}x)" for problem, count in list(found["problems"].items())[:3]]
    return f" Seen: {'; '.join(causes)}." if causes else ""


def _praise(total: Mapping[str, Any]) -> str:
    return f"{total['count']} answers, {total['errors']} not good, p95 {total['p95_ms']:g} ms."
