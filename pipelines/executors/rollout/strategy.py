"""The arithmetic of rollouts: where we are, where to go next. Pure: no clock, no files, no processes.

A strategy compiles to a list of steps. `decisions.decide` looks at the position in that list and at what a
target reports, and says what the target should hold next. Whoever drives a target repeats: observe, decide,
apply, until the decision's verb says that something else is needed (a pause, a measurement) or that the
rollout is over.

Percentages and rounding follow Kubernetes (`maxSurge` rounds up, `maxUnavailable` down), canary counts
follow Argo Rollouts with a traffic router: the canary gets `ceil(total * weight / 100)` replicas, and the
stable set stays complete, so that an abort is immediate, unless `dynamic_stable` lets it shrink to the
counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

# --- what a target reports and what it is told ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """Replicas of one service of one release: those that exist and are not being stopped, and those ready."""

    running: int = 0
    ready: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """What is there. `sets` maps release to service to its counts. `weights` maps release to its share of
    the traffic in per cent, as in force at this moment, without those that get none. `current` tells
    whether the target has taken in the last Desired; until then its counts may be those of before."""

    sets: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    current: bool = True

    def count(self, release: str | None, service: str) -> Count:
        return self.sets.get(release or "", {}).get(service, Count())


@dataclass(frozen=True, slots=True)
class Desired:
    """What shall be there. `sets` maps release to service to replicas; what is not named shall end, after
    it has left the traffic. `weights` are per cent and sum to 100; None spreads evenly over all ready
    replicas; empty means that nothing is served. `keep` maps a release that is still in `sets` to the
    seconds after which the target retires it by itself. `back` tells that this leads back: what the release that came
    has begun ends then, even what is left running otherwise because it keeps data."""

    sets: Mapping[str, Mapping[str, int]]
    weights: Mapping[str, int] | None
    keep: Mapping[str, float] = field(default_factory=dict)
    back: bool = False


class Target(Protocol):
    """A place where releases run. It only says what is there and moves it one step."""

    def observe(self) -> Observation: ...

    def apply(self, desired: Desired) -> None: ...


# --- steps ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetWeight:
    weight: int


@dataclass(frozen=True, slots=True)
class Preview:
    """The new release stands complete beside the old one and gets no traffic."""


@dataclass(frozen=True, slots=True)
class Pause:
    """`duration` in seconds; None waits for a person."""

    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Verify:
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Roll:
    """Replace replicas a few at a time. Each limit is a number, or a share of all as "25%"."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


@dataclass(frozen=True, slots=True)
class Finish:
    """All traffic to the new release, then the old one ends, `keep` seconds later."""

    keep: float = 0.0


Step = SetWeight | Preview | Pause | Verify | Roll | Finish


@dataclass(frozen=True, slots=True)
class Rollout:
    """What to do. `old` and `new` map service to replicas; `stable` is None for an environment's first
    release and equals `release` where only the number of replicas changes. `deadline` is in seconds, for
    each step. Without an old release to replace, all steps but the last are passed over.

    `shared` are services whose replicas are replaced one by one in their place (a volume, a node), so that old and
    new together never are more than all. `ratio` are services whose traffic is split by the number of replicas
    alone: their stable set shrinks as the canary's weight grows. `run_ahead` lets replicas of the next step start
    while this one's become ready, where nothing is to be waited for or measured in between.
    """

    release: str
    new: Mapping[str, int]
    stable: str | None
    old: Mapping[str, int]
    steps: tuple[Step, ...]
    deadline: float = 60.0
    dynamic_stable: bool = False
    shared: frozenset[str] = frozenset()
    ratio: frozenset[str] = frozenset()
    run_ahead: bool = False

    @property
    def replaces(self) -> bool:
        return self.stable is not None and self.stable != self.release


@dataclass(frozen=True, slots=True)
class Position:
    """How far a rollout is, to be kept between calls.

    `entered` and `waiting_since` are times of the caller's clock: when the step began, and since when
    something is not as it should be (None while all is well). `weight` is the canary's last commanded
    share, `high` the most progress seen in a rolling step or on the way back. `aborted` is the reason, once
    it is to go back.
    """

    step: int = 0
    entered: float = 0.0
    waiting_since: float | None = None
    weight: int = 0
    high: int = -1
    aborted: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`verb`: `wait` (apply and look again), `pause` (a person decides), `verify` (measure, then call
    `go_on` or `abort`), `overdue` (what was waited for did not come: abort), `done`, `aborted` (stable has
    everything again). `desired` is None where the target shall be left as it is."""

    position: Position
    desired: Desired | None
    verb: Literal["wait", "pause", "verify", "overdue", "done", "aborted"]
    text: str


def rolling(max_surge: int | str = "25%", max_unavailable: int | str = "25%") -> tuple[Step, ...]:
    return (Roll(max_surge, max_unavailable), Finish())


def canary(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return (*steps, Finish())


def blue_green(keep: float, before_switch: tuple[Step, ...] = ()) -> tuple[Step, ...]:
    return (Preview(), *before_switch, Finish(keep))


def rollback() -> tuple[Step, ...]:
    return (Finish(),)


# --- numbers --------------------------------------------------------------------------------------


def resolve(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a percentage of `total` rounded up or down. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = str(value).strip()
    if text.endswith("%") and text[:-1].isdigit():
        percent = int(text[:-1])
        return -(-total * percent // 100) if up else total * percent // 100
    raise ValueError(f"{value!r} is neither a whole number from 0 nor a percentage such as 25%.")


def fenceposts(max_surge: int | str, max_unavailable: int | str, total: int) -> tuple[int, int]:
    """(surge, unavailable) in replicas. Where both come to 0, one may be unavailable: else nothing could
    move."""
    surge, unavailable = resolve(max_surge, total, up=True), resolve(max_unavailable, total, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def canary_count(total: int, weight: int) -> int:
    """Replicas for a share of the traffic in per cent: at least one while there is any."""
    return -(-total * weight // 100)


def shared_count(old: int, new: int, weight: int) -> int:
    """Replicas to replace in their place for a share of the traffic: as many as a canary would have, but never the
    last one before the whole traffic moves. `old` and `new` are the totals of both releases; without an old one there
    is nothing to share with."""
    if weight >= 100 or not old:
        return new if weight else 0
    total = min(old, new)
    return min(canary_count(total, weight), max(0, total - 1))


def rolling_counts(total: int, new: Count, old: Count, surge: int, unavailable: int) -> tuple[int, int]:
    """(new, old) replicas to have next, so that no more than `total + surge` exist and `total - unavailable`
    stay ready. Unready old ones go first and cost nothing."""
    room = total + surge - old.running - new.running
    next_new = max(new.running, min(total, new.running + max(room, 0)))
    spare = max(0, new.ready + old.ready - (total - unavailable))
    next_old = old.ready - min(old.ready, spare)
    return next_new, next_old
