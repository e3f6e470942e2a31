"""What a site may cost its customers, as a pipeline file says it: `budgets: {lcp: {limit: 2500ms, tolerance: 1.1}}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.definition.durations import DurationError, parse_duration
from pipelines.performance.metrics import METRICS, Metric


class BudgetError(ValueError):
    """A budget that cannot be used; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit` is the highest 75th percentile in ms (of `cls`: its score; of `errors`: the highest share), None for
    none. `tolerance` is the highest ratio to the baseline, of `orders` the lowest."""

    metric: Metric
    limit: float | None = None
    tolerance: float | None = None


def parse(given: object) -> tuple[Budget, ...]:
    """Raises BudgetError."""
    if not isinstance(given, Mapping) or not given:
        raise BudgetError(
            f"`budgets` has to say a limit for each of {', '.join(METRICS)} that counts, found {given!r}."
        )
    return tuple(_budget(str(name), value) for name, value in given.items())


def _budget(name: str, given: object) -> Budget:
    metric = METRICS.get(name)
    if metric is None:
        raise BudgetError(f"`budgets` has no metric {name!r}; known are {', '.join(METRICS)}.")
    found: Mapping[Any, Any] = given if isinstance(given, Mapping) else {"limit": given}
    if unknown := sorted(map(str, set(found) - {"limit", "tolerance"})):
        raise BudgetError(f"`budgets.{name}` has a {', '.join(unknown)}; expected limit, tolerance, or both.")
    limit, tolerance = found.get("limit"), found.get("tolerance")
    if limit is None and tolerance is None:
        raise BudgetError(f"`budgets.{name}` says nothing; expected a limit, a tolerance, or both.")
    if tolerance is not None and metric.tolerance is None:
        raise BudgetError(f"`budgets.{name}` can have a limit only: its values are too small for ratios.")
    if limit is not None and metric.kind == "orders":
        raise BudgetError("`budgets.orders` can have a tolerance only: how much is enough, nobody knows beforehand.")
    return Budget(
        metric,
        None if limit is None else _LIMITS[metric.kind](name, limit),
        metric.tolerance if tolerance is None else _tolerance(metric, tolerance),
    )


def _milliseconds(name: str, given: object) -> float:
    try:
        return parse_duration(str(given)) * 1000
    except DurationError:
        raise BudgetError(f"`budgets.{name}` has the limit {given!r}; expected a time such as 2500ms or 2s.") from None


def _share(name: str, given: object) -> float:
    text = str(given)
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
        text = str(float(match[1]) / 100)
    return _number(text, 0, 1, f"`budgets.{name}` has the limit {given!r}; expected a share such as 1% or 0.01.")


def _score(name: str, given: object) -> float:
    return _number(given, 0, 10, f"`budgets.{name}` has the limit {given!r}; expected a score such as 0.1.")


_LIMITS = {"duration": _milliseconds, "errors": _share, "score": _score}


def _tolerance(metric: Metric, given: object) -> float:
    low, high = (0.05, 1.0) if metric.kind == "orders" else (1.0, 100.0)
    wanted = f"a share from {low:g} to {high:g} that has to remain" if metric.kind == "orders" else "a ratio from 1 on"
    return _number(given, low, high, f"`budgets.{metric.name}` has the tolerance {given!r}; expected {wanted}.")


def _number(given: object, low: float, high: float, problem: str) -> float:
    try:
        number = float(str(given))
    except ValueError:
        raise BudgetError(problem) from None
    if isinstance(given, bool) or not low <= number <= high:
        raise BudgetError(problem)
    return number
