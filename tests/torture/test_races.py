"""Many hands on one gate: exactly one of them wins, and what was decided about is what happens."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import runs
from pipelines.executors import registry
from pipelines.executors.base import Control, Outcome, Plan, StageSpec, Yielded, refuse_changed
from pipelines.executors.gate import GateExecutor
from tests.pipelines.helpers import begin, stage

from . import count
from .installation import Backstage, environment, free_port

CROWD = 50
GATED = """\
name: demo
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: QUORUM}}}
  - {name: after, kind: noop, owner: dev, needs: [ship]}
on_exit:
  - {name: report, kind: noop, owner: platform}
"""
BASE = """\
name: demo
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: 1}}}
"""
# Two changes, each of which takes something that another team has to give.
BY_DEV = BASE.replace("{name: build, kind: noop, owner: dev}", "{name: build, kind: noop, owner: platform}")
BY_OPS = BASE.replace("gate: {teams: {ops: 1}}", "gate: {teams: {platform: 1}}")


class Place:
    """Several processes on one database file, in which nothing runs but what the test asks for."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.database = home / "burger.sqlite3"
        self.here, self.there = Backstage(env), Backstage(env)
        self.here.set_up(people=CROWD)

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as database:
            return database.execute(query, arguments).fetchall()

    def states(self, run: int) -> dict[str, str]:
        return dict(self.rows("SELECT name, state FROM pipelines_stage WHERE run_id = ?", run))

    def run_state(self, run: int) -> str:
        return str(self.rows("SELECT state FROM pipelines_run WHERE id = ?", run)[0][0])

    def at_the_gate(self, text: str, **more: Any) -> tuple[int, dict[str, Any]]:
        run = self.here.begin(text=text, **more)
        self.here.work()
        return run, self.here.question(run=run, name="ship")

    def race(self, calls: list[list[Any]]) -> Counter[str]:
        """Make all calls at the same moment, in two processes, on a thread each; how many ended how ("": well)."""
        half = len(calls) // 2
        self.here.tell("together", calls=calls[:half])
        self.there.tell("together", calls=calls[half:])
        return Counter([*self.here.hear(), *self.there.hear()])

    def queued_how_often(self, run: int) -> int:
        """How often the gate's stage was handed to the workers, but for its plan."""
        found = self.rows(
            "SELECT e.data FROM pipelines_event e JOIN pipelines_stage s ON s.id = e.stage_id "
            "WHERE e.run_id = ? AND s.name = 'ship' AND e.kind = 'stage'",
            run,
        )
        return sum((data := json.loads(text))["state"] == "queued" and data["code"] != "plan" for (text,) in found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("races") / "var"
    place = Place(home, environment(home, free_port(), BURGER_LOG_LEVEL="ERROR", BURGER_DATABASE_TIMEOUT="60"))
    try:
        yield place
    finally:
        for process in (place.here, place.there):
            process.close()


def test_a_hundred_approvals_at_once_count_each_person_once(place: Place) -> None:
    run, asked = place.at_the_gate(GATED.replace("QUORUM", "3"))
    calls = [["approve", {**asked, "user": f"ops-{n}"}] for n in range(CROWD)]
    calls += [["approve", {**asked, "user": "ops-0"}] for _ in range(CROWD)]
    ended = place.race(calls)
    assert ended == {"": 3, "Conflict": 97}
    approvals = place.rows("SELECT user_id FROM pipelines_approval WHERE stage_id = ? AND voided = ''", asked["stage"])
    assert len(set(approvals)) == len(approvals) == 3
    assert place.queued_how_often(run) == 1
    place.here.work()
    assert set(place.states(run).values()) == {"succeeded"}


def test_one_person_fifty_times_is_one_approval(place: Place) -> None:
    run, asked = place.at_the_gate(GATED.replace("QUORUM", "2"))
    ended = place.race([["approve", {**asked, "user": "ops-1"}] for _ in range(CROWD)])
    assert ended == {"": 1, "Conflict": CROWD - 1}
    assert place.states(run)["ship"] == "waiting"


@pytest.mark.parametrize("other", ["reject", "cancel"])
def test_approve_against_reject_and_cancel_has_one_winner(place: Place, other: str) -> None:
    for _ in range(count(6, 60)):
        run, asked = place.at_the_gate(GATED.replace("QUORUM", "1"))
        against: list[Any] = ["reject", {**asked, "user": "ops-1"}]
        if other == "cancel":
            against = ["cancel", {"run": run, "user": "dev-0"}]
        ended = place.race([["approve", {**asked, "user": "ops-0"}], against])
        place.here.work()
        states = place.states(run)
        if other == "reject":
            # Both are answers to one question: the second finds that it has been answered.
            assert ended == {"": 1, "Conflict": 1}
            assert (states["ship"], states["after"]) in (("succeeded", "succeeded"), ("rejected", "omitted"))
            assert place.run_state(run) == ("succeeded" if states["ship"] == "succeeded" else "rejected")
        else:
            # A run may be canceled after its gate was approved, but not the other way round.
            assert ended in ({"": 2}, {"": 1, "Conflict": 1})
            assert states["ship"] == states["after"] == "canceled"
            assert place.run_state(run) == "canceled"
        assert states["report"] == "succeeded"
        assert place.rows("SELECT key FROM pipelines_attempt WHERE open") == []


def test_retry_cancel_and_the_sweeper_do_not_get_in_each_others_way(place: Place) -> None:
    for _ in range(count(4, 40)):
        run, asked = place.at_the_gate(GATED.replace("QUORUM", "1"))
        place.here.reject(**asked, user="ops-0")
        place.here.work()
        ended = place.race(
            [["retry", {"stage": asked["stage"], "user": "ops-0"}]] * 3
            + [["advance", {"run": run}], ["sweep", {}], ["work", {}], ["work", {}]]
            + [["retry_failed", {"run": run, "user": "ops-1"}]]
        )
        assert set(ended) <= {"", "Conflict"}
        place.here.work()
        states = place.states(run)
        assert states["ship"] == "waiting", states
        place.here.approve(**place.here.question(run=run, name="ship"), user="ops-2")
        place.here.work()
        assert place.run_state(run) == "succeeded"
        made = place.rows("SELECT number FROM pipelines_attempt WHERE stage_id = ? AND phase = 'work'", asked["stage"])
        assert len(made) == 1, "only the approved plan was carried out"


def test_an_approval_of_an_older_plan_is_refused_and_nothing_stale_is_done(place: Place) -> None:
    run, asked = place.at_the_gate(GATED.replace("QUORUM", "1"))
    old = {**asked, "digest": "sha256:" + "0" * 64}
    ended = place.race([["approve", {**old, "user": f"ops-{n}"}] for n in range(10)])
    assert ended == {"Conflict": 10}
    assert place.states(run)["ship"] == "waiting"


@pytest.mark.django_db
def test_a_plan_that_changed_after_its_approval_is_not_carried_out(
    pipeline: Any, working: Any, cast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"version": "1"}
    done: list[str] = []

    class Worldly(GateExecutor):
        """Work whose plan depends on what is there."""

        def plan(self, spec: StageSpec) -> Plan:
            return replace(super().plan(spec), details=dict(world))

        def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
            if changed := refuse_changed(self, spec):
                yield changed
                return
            done.append(world["version"])
            yield Outcome("succeeded")

    monkeypatch.setattr(registry, "make", lambda _, workplace: Worldly(workplace))
    run = begin(pipeline, "stages: [{name: ship, kind: gate, owner: ops, gate: {teams: {ops: 1}}}]\n")
    working()
    first = stage(run, "ship").plan_digest
    runs.approve(stage=stage(run, "ship").pk, user=cast.olga, digest=first)
    world["version"] = "2"
    working()
    asked = stage(run, "ship")
    assert (asked.state, asked.reason_code, done) == ("waiting", "approval", [])
    assert asked.plan_digest != first
    assert asked.plan["details"] == {"version": "2"}
    with pytest.raises(runs.Conflict):
        runs.approve(stage=asked.pk, user=cast.otto, digest=first)
    runs.approve(stage=asked.pk, user=cast.olga, digest=asked.plan_digest)
    working()
    assert (stage(run, "ship").state, done) == ("succeeded", ["2"])


def test_of_two_changes_of_ownership_only_what_was_agreed_to_counts(place: Place) -> None:
    first = place.here.begin(text=BASE, slug="demo")
    place.here.work()
    assert place.states(first)["ship"] == "waiting"
    dev, ops = (place.here.begin(text=text, slug="demo") for text in (BY_DEV, BY_OPS))
    place.here.work()
    asked = {run: place.here.question(run=run, name="ownership-change") for run in (dev, ops)}
    ended = place.race(
        [
            ["approve", {**asked[dev], "user": "dev-0"}],
            ["approve", {**asked[ops], "user": "ops-0"}],
        ]
    )
    assert ended == {"": 2}
    place.race([["work", {}], ["work", {}]])
    place.here.work()
    states = {run: place.states(run)["ownership-change"] for run in (dev, ops)}
    assert sorted(states.values()) == ["failed", "succeeded"], "the later one would undo what the first changed"
    winner = dev if states[dev] == "succeeded" else ops
    (wanted,) = place.rows(
        "SELECT v.digest FROM pipelines_run r JOIN pipelines_definitionversion v ON v.id = r.definition_id "
        "WHERE r.id = ?", winner
    )[0]  # fmt: skip
    assert place.here.accepted() == wanted
    loser = ops if winner == dev else dev
    assert place.states(loser)["ship"] == "omitted"
    # The gate that was open all the time still asks those whom it asked when its run began.
    place.here.approve(**place.here.question(run=first, name="ship"), user="ops-0")
    place.here.work()
    assert place.run_state(first) == "succeeded"
