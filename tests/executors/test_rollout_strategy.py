"""The arithmetic of rollouts, in tables and as properties of a simulated target."""

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
    Verify,
    blue_green,
    canary,
    canary_count,
    fenceposts,
    resolve,
    rollback,
    rolling,
    rolling_counts,
)


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [
        (0, 10, True, 0),
        (3, 10, False, 3),
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        ("25%", 1, True, 1),
        ("25%", 1, False, 0),
        ("100%", 7, False, 7),
        ("0%", 7, True, 0),
    ],
)
def test_percentages_round_as_kubernetes_does(value, total, up, expected):
    assert resolve(value, total, up=up) == expected


@pytest.mark.parametrize("value", [-1, "25", "-5%", "a%", True, 1.5, ""])
def test_a_limit_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="neither a whole number"):
        resolve(value, 4, up=True)


@pytest.mark.parametrize(
    ("surge", "unavailable", "total", "expected"),
    [("25%", "25%", 4, (1, 1)), (0, 0, 3, (0, 1)), ("0%", "10%", 5, (0, 1)), (1, 0, 1, (1, 0))],
)
def test_something_can_always_move(surge, unavailable, total, expected):
    assert fenceposts(surge, unavailable, total) == expected


@pytest.mark.parametrize(
    ("total", "weight", "expected"),
    [(10, 0, 0), (10, 1, 1), (10, 20, 2), (10, 25, 3), (3, 50, 2), (1, 5, 1), (2, 100, 2), (5, 99, 5)],
)
def test_a_canary_has_replicas_for_its_weight(total, weight, expected):
    assert canary_count(total, weight) == expected


@pytest.mark.parametrize(
    ("new", "old", "surge", "unavailable", "expected"),
    [
        # total 4: the first step brings the surge, nobody may go yet
        (Count(0, 0), Count(4, 4), 1, 0, (1, 4)),
        (Count(1, 0), Count(4, 4), 1, 0, (1, 4)),
        (Count(1, 1), Count(4, 4), 1, 0, (1, 3)),
        (Count(1, 1), Count(3, 3), 1, 0, (2, 3)),
        # without surge an old one goes first
        (Count(0, 0), Count(4, 4), 0, 1, (0, 3)),
        (Count(0, 0), Count(3, 3), 0, 1, (1, 3)),
        # unready old ones cost nothing
        (Count(0, 0), Count(4, 2), 1, 0, (1, 2)),
        (Count(4, 4), Count(0, 0), 1, 0, (4, 0)),
    ],
)
def test_rolling_moves_within_its_limits(new, old, surge, unavailable, expected):
    assert rolling_counts(4, new, old, surge, unavailable) == expected


# --- a simulated target -----------------------------------------------------------------------------------


@dataclass
class Simulation:
    """Does at once what is desired, except that replicas become ready only when `ready` is called."""

    sets: dict[str, dict[str, Count]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    def observe(self) -> Observation:
        return Observation({r: dict(s) for r, s in self.sets.items()}, self.weights)

    def apply(self, desired: Desired) -> None:
        for release in {*self.sets, *desired.sets}:
            wanted = desired.sets.get(release, {})
            services = self.sets.setdefault(release, {})
            for name in {*services, *wanted}:
                count = wanted.get(name, 0)
                services[name] = Count(count, min(services.get(name, Count()).ready, count))
            self.sets[release] = {n: c for n, c in services.items() if c.running}
        self.sets = {r: s for r, s in self.sets.items() if s}
        serving = {r: min(c.ready for c in s.values()) for r, s in self.sets.items()}
        if desired.weights is None:
            whole = sum(serving.values())
            self.weights = {r: round(100 * n / whole) for r, n in serving.items() if n}
        else:
            self.weights = {r: w for r, w in desired.weights.items() if serving.get(r)}

    def ready(self, release: str, name: str) -> None:
        count = self.sets.get(release, {}).get(name, Count())
        if count.ready < count.running:
            self.sets[release][name] = Count(count.running, count.ready + 1)

    def total_ready(self, name: str) -> int:
        return sum(s.get(name, Count()).ready for s in self.sets.values())

    def total(self, name: str) -> int:
        return sum(s.get(name, Count()).running for s in self.sets.values())


def started(old: Mapping[str, int]) -> Simulation:
    sets = {"old": {name: Count(count, count) for name, count in old.items()}} if old else {}
    return Simulation(sets, {"old": 100} if old else {})


def drive(rollout: Rollout, target: Simulation, draw=lambda options: options[0], check=lambda: None) -> list[str]:
    """Drive to the end; returns the texts. Each turn one replica that is not ready becomes so."""
    position, texts = Position(), []
    for turn in range(2000):
        decision = decisions.decide(rollout, position, target.observe(), float(turn))
        position = decision.position
        texts.append(decision.text)
        if decision.desired is not None:
            target.apply(decision.desired)
        check()
        if decision.verb in ("done", "aborted"):
            return texts
        if decision.verb in ("pause", "verify"):
            position = decisions.go_on(position, float(turn))
        starting = [(r, n) for r, s in target.sets.items() for n, c in s.items() if c.ready < c.running]
        if starting:
            target.ready(*draw(sorted(starting)))
        check()
    raise AssertionError(f"it does not end: {texts[-5:]}")


SERVICES = st.dictionaries(st.sampled_from(["web", "api"]), st.integers(1, 6), min_size=1)
LIMIT = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "34%", "100%"]))
STEPS = st.lists(
    st.one_of(
        st.builds(SetWeight, st.integers(0, 100)),
        st.builds(Pause, st.one_of(st.none(), st.floats(0, 3))),
        st.just(Verify()),
    ),
    max_size=5,
).map(tuple)


@settings(max_examples=120, deadline=None)
@given(services=SERVICES, surge=LIMIT, unavailable=LIMIT, data=st.data())
def test_rolling_never_has_too_few_or_too_many_and_never_goes_back(services, surge, unavailable, data):
    target = started(services)
    rollout = Rollout("new", services, "old", services, rolling(surge, unavailable), deadline=1e9)
    most = dict.fromkeys(services, 0)

    def check() -> None:
        for name, total in services.items():
            more, fewer = fenceposts(surge, unavailable, total)
            assert target.total_ready(name) >= total - fewer
            assert target.total(name) <= total + more
            now = target.sets.get("new", {}).get(name, Count()).running
            assert now >= most[name]
            most[name] = now

    drive(rollout, target, lambda options: data.draw(st.sampled_from(options)), check)
    assert target.sets == {"new": {name: Count(total, total) for name, total in services.items()}}
    assert target.weights == {"new": 100}


@settings(max_examples=120, deadline=None)
@given(services=SERVICES, steps=STEPS, dynamic=st.booleans(), data=st.data())
def test_a_canary_ends_and_traffic_never_goes_to_what_is_not_ready(services, steps, dynamic, data):
    target = started(services)
    rollout = Rollout("new", services, "old", services, canary(steps), deadline=1e9, dynamic_stable=dynamic)

    def check() -> None:
        assert sum(target.weights.values()) == 100
        for release, weight in target.weights.items():
            for name, total in services.items():
                assert target.sets[release][name].ready >= canary_count(total, weight)

    drive(rollout, target, lambda options: data.draw(st.sampled_from(options)), check)
    assert target.sets == {"new": {name: Count(total, total) for name, total in services.items()}}


@settings(max_examples=120, deadline=None)
@given(services=SERVICES, steps=STEPS, dynamic=st.booleans(), turns=st.integers(0, 40), data=st.data())
def test_an_abort_at_any_moment_ends_with_stable_complete(services, steps, dynamic, turns, data):
    target = started(services)
    kind = data.draw(st.sampled_from([canary(steps), rolling(1, 0), rolling(0, 1), blue_green(5.0), rollback()]))
    rollout = Rollout("new", services, "old", services, kind, deadline=1e9, dynamic_stable=dynamic)
    position, before = Position(), 100
    for turn in range(500):
        if turn == turns:
            position = decisions.abort(position, "no", float(turn))
        decision = decisions.decide(rollout, position, target.observe(), float(turn))
        position = decision.position
        if decision.desired is not None:
            target.apply(decision.desired)
        if turn > turns and kind[0] != rolling(1, 0)[0] and decision.verb != "done":
            share = target.weights.get("new", 0)
            assert share <= before, "an abort never gives the canary more"
            before = share
        if decision.verb in ("done", "aborted"):
            break
        if decision.verb in ("pause", "verify"):
            position = decisions.go_on(position, float(turn))
        for release, services_there in list(target.sets.items()):
            for name in list(services_there):
                target.ready(release, name)
    else:
        raise AssertionError("it does not end")
    winner = "new" if decision.verb == "done" else "old"
    assert target.weights == {winner: 100}
    for name, total in services.items():
        assert target.sets[winner][name] == Count(total, total)


# --- single decisions -------------------------------------------------------------------------------------


def test_the_first_release_goes_straight_to_all_traffic_once_ready():
    target = started({})
    rollout = Rollout("new", {"web": 2}, None, {}, canary((SetWeight(10), Pause())))
    texts = drive(rollout, target, check=lambda: None)
    assert target.weights == {"new": 100}
    assert not any("pause" in text for text in texts)


def test_more_replicas_of_the_same_release_need_no_steps():
    target = started({"web": 2})
    rollout = Rollout("old", {"web": 4}, "old", {"web": 2}, canary((SetWeight(10), Pause())))
    drive(rollout, target)
    assert target.sets == {"old": {"web": Count(4, 4)}}


def test_blue_green_stands_complete_before_the_switch_and_keeps_the_old_set():
    target = started({"web": 3})
    rollout = Rollout("new", {"web": 3}, "old", {"web": 3}, blue_green(30.0))
    position, desired = Position(), None
    for turn in range(20):
        decision = decisions.decide(rollout, position, target.observe(), float(turn))
        position, desired = decision.position, decision.desired
        assert desired is not None
        if desired.weights == {"new": 100}:
            assert target.sets["new"]["web"] == Count(3, 3)
        target.apply(desired)
        target.ready("new", "web")
        if decision.verb == "done":
            break
    assert desired == Desired({"new": {"web": 3}, "old": {"web": 3}}, {"new": 100}, {"old": 30.0})


def test_what_does_not_get_ready_is_overdue_after_the_deadline():
    rollout = Rollout("new", {"web": 1}, "old", {"web": 1}, canary((SetWeight(50),)), deadline=60.0)
    target = started({"web": 1})
    first = decisions.decide(rollout, Position(), target.observe(), 0.0)
    target.apply(first.desired)
    assert decisions.decide(rollout, first.position, target.observe(), 60.0).verb == "wait"
    assert decisions.decide(rollout, first.position, target.observe(), 60.5).verb == "overdue"


def test_a_way_back_has_the_deadline_for_each_replica_that_comes_back():
    rollout = Rollout("r2", {"web": 4}, "r1", {"web": 4}, rolling(), deadline=60, shared=frozenset({"web"}))
    position = decisions.abort(Position(step=0, high=9), "aborted by a person", 0.0)
    for ready in range(1, 4):
        seen = Observation({"r1": {"web": Count(ready, ready)}})
        decision = decisions.decide(rollout, position, seen, ready * 50.0)
        assert (decision.verb, decision.position.waiting_since) == ("wait", ready * 50.0)
        position = decision.position
    assert decisions.decide(rollout, position, seen, 211.0).verb == "overdue"


def test_a_canary_that_dies_during_a_pause_is_overdue_too():
    rollout = Rollout("new", {"web": 1}, "old", {"web": 1}, canary((SetWeight(50), Pause())), deadline=60.0)
    position = Position(step=1, weight=50)
    dead = Observation({"old": {"web": Count(1, 1)}, "new": {"web": Count(1, 0)}}, {"old": 100})
    first = decisions.decide(rollout, position, dead, 5.0)
    assert first.verb == "wait"
    assert decisions.decide(rollout, first.position, dead, 70.0).verb == "overdue"


def test_promote_skips_a_pause_and_nothing_else():
    rollout = Rollout("new", {"web": 1}, "old", {"web": 1}, canary((SetWeight(50), Pause(), Pause())))
    assert decisions.promote(rollout, Position(step=0), 1.0).step == 0
    assert decisions.promote(rollout, Position(step=1), 1.0).step == 2
    assert decisions.promote_fully(rollout, Position(step=0), 1.0).step == 3
    assert isinstance(rollout.steps[3], Finish)
    gone = decisions.abort(Position(step=1), "no", 1.0)
    assert decisions.promote(rollout, gone, 1.0) == gone
    assert decisions.promote_fully(rollout, gone, 1.0) == gone
    assert decisions.abort(gone, "another reason", 2.0) == gone


def test_an_aborted_first_release_leaves_nothing():
    rollout = Rollout("new", {"web": 2}, None, {}, rolling())
    target = started({})
    first = decisions.decide(rollout, Position(), target.observe(), 0.0)
    target.apply(first.desired)
    position = decisions.abort(first.position, "no", 1.0)
    going = decisions.decide(rollout, position, target.observe(), 1.0)
    target.apply(going.desired)
    assert decisions.decide(rollout, going.position, target.observe(), 2.0).verb == "aborted"
    assert target.sets == {}


def test_an_abort_gives_the_canary_no_more_although_stable_is_half_gone():
    rollout = Rollout("new", {"web": 2}, "old", {"web": 2}, canary((SetWeight(20), Pause())))
    position = decisions.abort(Position(step=1, weight=20), "no", 1.0)
    half = Observation({"old": {"web": Count(2, 1)}, "new": {"web": Count(1, 1)}}, {"old": 80, "new": 20})
    assert decisions.decide(rollout, position, half, 1.0).desired.weights == {"old": 80, "new": 20}
