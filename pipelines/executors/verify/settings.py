"""What a probe's `with` asks for, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition import forms
from pipelines.definition.durations import DurationError, parse_duration
from pipelines.executors.base import PlanError, StageSpec
from pipelines.performance.budgets import Budget, BudgetError, parse

KEYS = (
    "paths",
    "soak",
    "interval",
    "minimum_samples",
    "p95_ms",
    "error_rate",
    "expect",
    "timeout",
    "release",
    "compare",
    "budgets",
    "within",
    "too_few",
)
# What is asked where fewer customers came than it takes to decide.
TOO_FEW = ("ask", "probes")
# What a rollout adds to those of its step: the release to probe beside, and the one that serves the other customers.
INNER = ("baseline", "beside")
_PATH = forms.written(forms.ADDRESS)


def release_name(spec: StageSpec) -> str:
    """The release that stages before rolled out to this environment; "" when none was, or more than one. What was
    published is of no environment, and runs nowhere yet."""
    releases = [item for item in spec.artifacts.values() if item.kind == "release"]
    here = [item for item in releases if item.meta.get("environment") == spec.environment]
    names = {str(item.meta.get("release") or item.name) for item in here}
    return names.pop() if len(names) == 1 else ""


@dataclass(frozen=True, slots=True)
class Settings:
    """`soak` and `interval` are seconds, `error_rate` a share (0.01 is 1 %), `p95_ms` milliseconds.

    In each interval every path is asked for once. `expect` maps a path to what its page has to hold.
    `baseline` is the release to compare with, "" for none. `confidence` is that of the bounds around each
    share. `budgets` are what customers' measurements are judged by, which are waited for `within` seconds at most;
    `too_few` says who decides where fewer came than it takes to decide: a person, or the probes.
    `beside` is the release that serves other customers at the same time, "" for none.
    """

    paths: tuple[str, ...] = ("/",)
    soak: float = 10.0
    interval: float = 0.5
    minimum_samples: int = 20
    p95_ms: float = 500.0
    error_rate: float = 0.01
    expect: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    baseline: str = ""
    timeout: float = 5.0
    confidence: float = 0.95
    budgets: tuple[Budget, ...] = ()
    within: float = 900.0
    too_few: str = "ask"
    beside: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Raises PlanError."""
        if unknown := sorted(set(given) - {*KEYS, *INNER, "_retry"}):
            raise PlanError(f"Unknown settings {', '.join(unknown)}; known are {', '.join(KEYS)}.")
        default = cls()
        expect = {str(path): _pattern(path, wanted) for path, wanted in (given.get("expect") or {}).items()}
        paths = tuple(dict.fromkeys([*_paths(given.get("paths", default.paths)), *expect]))
        return cls(
            paths=tuple(_path(path) for path in paths),
            soak=_seconds(given, "soak", default.soak),
            interval=_seconds(given, "interval", default.interval),
            minimum_samples=int(_number(given, "minimum_samples", default.minimum_samples, 1, 1_000_000)),
            p95_ms=_number(given, "p95_ms", default.p95_ms, 0.001, 600_000),
            error_rate=_number(given, "error_rate", default.error_rate, 0, 1),
            expect=expect,
            baseline=str(given.get("baseline") or ""),
            timeout=_seconds(given, "timeout", default.timeout),
            budgets=_budgets(given.get("budgets")),
            within=_seconds(given, "within", default.within),
            too_few=_too_few(given.get("too_few", default.too_few)),
            beside=str(given.get("beside") or given.get("baseline") or ""),
        )


def _budgets(given: object) -> tuple[Budget, ...]:
    try:
        return parse(given) if given is not None else ()
    except BudgetError as error:
        raise PlanError(str(error)) from None


def _too_few(given: object) -> str:
    if given not in TOO_FEW:
        raise PlanError(f"`too_few` has to be one of {', '.join(TOO_FEW)}, found {given!r}.")
    return str(given)


def _paths(given: object) -> list[str]:
    if not isinstance(given, list | tuple) or not given:
        raise PlanError(f"`paths` has to be a list of paths such as [/, /healthz], found {given!r}.")
    return [str(path) for path in given]


def _path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise PlanError(f"{path!r} is no path: expected / and characters of an address, no spaces; encode others.")
    return path


def _pattern(path: object, wanted: object) -> re.Pattern[str]:
    if isinstance(wanted, str):
        return re.compile(re.escape(wanted))
    if isinstance(wanted, Mapping) and set(wanted) == {"regex"}:
        try:
            return re.compile(str(wanted["regex"]))
        except re.error as error:
            raise PlanError(f"`expect` of {path} is no regular expression: {error}.") from None
    raise PlanError(f"`expect` of {path} has to be a text, or regex: PATTERN; found {wanted!r}.")


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float:
    value = given.get(key)
    if value is None:
        return default
    try:
        return parse_duration(value) if isinstance(value, str) else _number(given, key, default, 0.001, 86400)
    except DurationError as error:
        raise PlanError(f"`{key}`: {error}.") from None


def _number(given: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = given.get(key, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise PlanError(f"`{key}` has to be a number, found {value!r}.") from None
    if not low <= number <= high:
        raise PlanError(f"`{key}` has to be from {low:g} to {high:g}, found {number:g}.")
    return number
