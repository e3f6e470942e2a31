"""Services that are replaced in their place, and those whose traffic follows their number: the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.executors.rollout import decisions
from pipelines.executors.rollout.strategy import (
    Count,
    Desired,
    Finish,
    Observation,
    Pause,
    Position,
    Rollout,
    SetWeight,
    blue_green,
    canary,
    rollback,
    rolling,
    shared_count,
)


@pytest.mark.parametrize(
    ("old", "new", "weight", "expected"),
    [
        (4, 4, 0, 0),
        (4, 4, 25, 1),
        (4, 4, 99, 3),
        (4, 4, 100, 4),
        (1, 1, 50, 0),
        (2, 2, 10, 1),
        (0, 3, 10, 3),
        (0, 3, 0, 0),
        (5, 3, 50, 2),
        (3, 5, 50, 2),
    ],
)
def test_the_last_one_in_its_place_is_only_replaced_with_the_whole_traffic(old, new, weight, expected):
    assert shared_count(old, new, weight) == expected


@dataclass
class Cluster:
    """`db` is replaced in place, one at a time; `web` stands beside itself. Pods are ready one turn after they
    came."""

    totals: Mapping[str, int]
    sets: dict[str, dict[str, Count]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)

    def observe(self) -> Observation:
        return Observation({r: dict(s) for r, s in self.sets.items()}, self.weights)

    def apply(self, desired: Desired) -> None:
        if desired.weights is not None:
            self.weights = desired.weights
        self._web({release: services.get("web", 0) for release, services in desired.sets.items()})
        self._db({release: services.get("db", 0) for release, services in desired.sets.items()})
        for name in self.totals:
            ready = sum(services.get(name, Count()).ready for services in self.sets.values())
            self.least[name] = min(self.least.get(name, ready), ready)

    def _put(self, release: str, name: str, count: Count) -> None:
        services = self.sets.setdefault(release, {})
        services[name] = count
        left = {r: {n: c for n, c in s.items() if c.running} for r, s in self.sets.items()}
        self.sets = {release: services for release, services in left.items() if services}

    def _count(self, release: str, name: str) -> Count:
        return self.sets.get(release, {}).get(name, Count())

    def _web(self, wanted: Mapping[str, int]) -> None:
        for release in {*self.sets, *wanted}:
            before, count = self._count(release, "web"), wanted.get(release, 0)
            self._put(release, "web", Count(count, min(count, before.running)))

    def _db(self, wanted: Mapping[str, int]) -> None:
        counts = {release: self._count(release, "db") for release in {*self.sets, *wanted}}
        unready = [release for release, count in counts.items() if count.ready < count.running]
        for release in unready:
            self._put(release, "db", Count(counts[release].running, counts[release].running))
        if unready:
            return
        more = next((r for r, c in counts.items() if wanted.get(r, 0) > c.running), None)
        fewer = next((r for r, c in counts.items() if wanted.get(r, 0) < c.running), None)
        if fewer:
            count = counts[fewer]
            self._put(fewer, "db", Count(count.running - 1, count.running - 1))
        if more and (fewer or sum(count.running for count in counts.values()) < self.totals["db"]):
            count = self._count(more, "db")
            self._put(more, "db", Count(count.running + 1, count.ready))


def rollout(steps, totals, **more) -> Rollout:
    shared = frozenset({"db"})
    return Rollout("new", totals, "old", totals, steps, shared=shared, run_ahead=True, **more)


def start(totals: Mapping[str, int]) -> Cluster:
    return Cluster(totals, {"old": {name: Count(count, count) for name, count in totals.items()}}, {"old": 100})


def drive(wanted: Rollout, cluster: Cluster, abort_at: int = -1) -> str:
    position = Position()
    for turn in range(500):
        if turn == abort_at:
            position = decisions.abort(position, "enough", float(turn))
        decision = decisions.decide(wanted, position, cluster.observe(), float(turn))
        position = decision.position
        if decision.desired is not None:
            cluster.apply(decision.desired)
        if decision.verb in ("done", "aborted"):
            for _ in range(30):
                cluster.apply(decision.desired)
            return decision.verb
    raise AssertionError(f"no end: {position} {cluster}")


STRATEGIES = {
    "rolling": rolling(),
    "canary": canary((SetWeight(25), SetWeight(50), SetWeight(100))),
    "back and forth": canary((SetWeight(60), SetWeight(20), SetWeight(80))),
    "blue-green": blue_green(0),
    "rollback": rollback(),
}


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=40, deadline=None)
@given(db=st.integers(1, 5), web=st.integers(1, 8), abort_at=st.integers(-1, 40), ratio=st.booleans())
def test_every_strategy_ends_with_one_release_and_takes_one_place_at_a_time(name, db, web, abort_at, ratio):
    totals = {"db": db, "web": web}
    cluster = start(totals)
    wanted = rollout(STRATEGIES[name], totals, ratio=frozenset({"web"} if ratio else ()))
    verb = drive(wanted, cluster, abort_at)
    stays = "new" if verb == "done" else "old"
    assert cluster.sets == {stays: {name: Count(count, count) for name, count in totals.items()}}
    assert cluster.weights == {stays: 100}
    assert cluster.least["db"] >= db - 1
    assert cluster.least["web"] >= (web - 1 - web // 4 if name == "rolling" else min(web, web - 1 if ratio else web))


def test_replicas_of_the_next_step_start_while_this_one_waits_but_not_beyond_a_pause():
    ahead = rollout(canary((SetWeight(25), SetWeight(50))), {"web": 4})
    first = decisions.decide(ahead, Position(), start({"web": 4}).observe(), 0.0)
    assert first.desired.sets["new"] == {"web": 2}
    last = rollout((SetWeight(50), Finish()), {"web": 4})
    assert decisions.decide(last, Position(), start({"web": 4}).observe(), 0.0).desired.sets["new"] == {"web": 4}
    held = rollout(canary((SetWeight(25), Pause(5), SetWeight(50))), {"web": 4})
    first = decisions.decide(held, Position(), start({"web": 4}).observe(), 0.0)
    assert first.desired.sets["new"] == {"web": 1}
