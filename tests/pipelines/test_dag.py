"""Decisions over drawn graphs. Each test draws what it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dag import Decision, Do, Graph, Lock, Node, Snapshot, backoff, decide, leaves, run_state
from pipelines.definition.depends import compile_depends
from pipelines.states import ENDED


def graph(drawing: str, **more: dict[str, Any]) -> Graph:
    """A graph from lines like `deploy: build test`; `more` gives a node further fields by its name."""
    lines = [line.strip().partition(":") for line in drawing.strip().splitlines()]
    positions = {name: i for i, (name, _, _) in enumerate(lines)}
    nodes = tuple(
        Node(name=name, needs=tuple(positions[need] for need in needs.split()), **more.get(name, {}))
        for name, _, needs in lines
    )
    return Graph(nodes, leaves(nodes))


def snapshot(drawn: Graph, states: str, **more: Any) -> Snapshot:
    """`states` has a word for each node, `waiting/lock` with its reason."""
    words = [word.partition("/") for word in states.split()]
    count = len(drawn.nodes)
    defaults: dict[str, Any] = {"planned": [False] * count, "approved": [not n.gated for n in drawn.nodes]}
    return Snapshot(drawn, [w[0] for w in words], [w[2] for w in words], **(defaults | more))


def decided(found: list[Decision], drawn: Graph) -> dict[str, str]:
    return {drawn.nodes[d.position].name: d.do.value for d in found}


DIAMOND = graph("""
    source:
    left: source
    right: source
    join: left right
""")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("pending pending pending pending", {"source": "queue"}),
        ("running pending pending pending", {}),
        ("succeeded pending pending pending", {"left": "queue", "right": "queue"}),
        ("succeeded succeeded running pending", {}),
        ("succeeded succeeded skipped pending", {"join": "queue"}),
        ("succeeded failed running pending", {}),
        ("succeeded failed succeeded pending", {"join": "omit"}),
        ("failed pending pending pending", {"left": "omit", "right": "omit", "join": "omit"}),
        ("succeeded succeeded succeeded succeeded", {}),
    ],
)
def test_a_diamond(states, expected):
    assert decided(decide(snapshot(DIAMOND, states)), DIAMOND) == expected


def test_depends_runs_on_failure():
    drawn = graph(
        "test:\nmend: test",
        mend={"depends": compile_depends("test.Failed"), "groups": {"test": (0,)}},
    )
    assert decided(decide(snapshot(drawn, "failed pending")), drawn) == {"mend": "queue"}
    assert decided(decide(snapshot(drawn, "succeeded pending")), drawn) == {"mend": "omit"}


def test_a_handled_failure_does_not_fail_the_run():
    drawn = graph("test:\nmend: test")
    assert run_state(drawn, ["failed", "succeeded"]) == "succeeded"
    assert run_state(drawn, ["failed", "omitted"]) == "failed"


def test_a_false_condition_skips_and_the_next_goes_on():
    drawn = graph("a:\nb: a", a={"when": lambda context: context["x"] == 1})
    assert decided(decide(snapshot(drawn, "pending pending", context={"x": 2})), drawn) == {"a": "skip", "b": "queue"}


@pytest.mark.parametrize(
    ("planned", "approved", "state", "expected"),
    [
        (False, False, "pending", {"a": "plan"}),
        (True, False, "waiting/plan", {"a": "ask"}),
        (True, False, "waiting/approval", {}),
        (True, True, "waiting/approval", {"a": "queue"}),
    ],
)
def test_a_gate_plans_asks_and_goes_on(planned, approved, state, expected):
    drawn = graph("a:", a={"gated": True})
    found = decide(snapshot(drawn, state, planned=[planned], approved=[approved]))
    assert decided(found, drawn) == expected


def test_a_lock_and_a_window_are_waited_for_once():
    drawn = graph("a:", a={"environment": "production"})
    held = {"production": Lock(held_by="run #3 is changing production")}
    first = decide(snapshot(drawn, "pending", locks=held))
    assert first == [Decision(0, Do.WAIT, "run #3 is changing production", "lock")]
    assert decide(snapshot(drawn, "waiting/lock", locks=held)) == []
    frozen = decide(snapshot(drawn, "waiting/lock", frozen={"production": "frozen until Monday"}))
    assert frozen == [Decision(0, Do.WAIT, "frozen until Monday", "window")]
    assert decided(decide(snapshot(drawn, "waiting/window", frozen={"production": "x"}, exempt=frozenset({0}))), drawn)


def test_a_run_finishes_in_a_freeze_what_it_has_begun_but_not_past_a_gate():
    drawn = graph("a:\nb:", a={"environment": "production"}, b={"environment": "production", "gated": True})
    frozen = {"production": "frozen until Monday"}
    known = {"planned": [True, True], "approved": [False, True], "locks": {"production": Lock(ours=True)}}
    found = decide(snapshot(drawn, "pending waiting/approval", frozen=frozen, **known))
    assert [(one.position, one.do) for one in found] == [(0, Do.QUEUE), (1, Do.WAIT)]
    assert found[1].code == "window"


EXITS = graph("a:\nb: a\nreport:", report={"on_exit": True})


@pytest.mark.parametrize(
    ("states", "stopping", "expected"),
    [
        ("succeeded running pending", "", {}),
        ("succeeded succeeded pending", "", {"report": "queue"}),
        ("failed pending pending", "", {"b": "omit", "report": "queue"}),
        ("running pending pending", "cancel", {"b": "cancel"}),
        ("succeeded pending pending", "cancel", {"b": "cancel", "report": "queue"}),
        ("succeeded pending pending", "terminate", {"b": "cancel", "report": "cancel"}),
        ("succeeded waiting/approval pending", "cancel", {"b": "cancel", "report": "queue"}),
    ],
)
def test_exit_stages_and_stopping(states, stopping, expected):
    assert decided(decide(snapshot(EXITS, states, stopping=stopping)), EXITS) == expected


def test_what_was_begun_is_stopped_by_a_worker_and_exit_stages_wait_for_it():
    found = decide(snapshot(EXITS, "succeeded waiting/approval pending", stopping="cancel", begun=frozenset({1})))
    assert decided(found, EXITS) == {"b": "stop"}


@pytest.mark.parametrize(
    ("states", "stopping", "expected"),
    [
        ("succeeded running pending", "", "running"),
        ("succeeded waiting pending", "", "waiting"),
        ("succeeded rejected omitted", "", "rejected"),
        ("succeeded succeeded failed", "", "failed"),
        ("error omitted succeeded", "", "error"),
        ("succeeded canceled succeeded", "cancel", "canceled"),
        ("failed canceled succeeded", "cancel", "canceled"),
        ("succeeded skipped succeeded", "", "succeeded"),
    ],
)
def test_the_state_of_a_run(states, stopping, expected):
    assert run_state(EXITS, states.split(), stopping) == expected


@st.composite
def graphs(draw: Callable[..., Any]) -> Graph:
    count = draw(st.integers(1, 12))
    nodes = tuple(
        Node(name=str(i), needs=tuple(sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))) if i else ())
        for i in range(count)
    )
    return Graph(nodes, leaves(nodes))


@given(graphs(), st.data())
def test_every_run_ends(drawn, data):
    """Whatever the work says, deciding and doing reach an end, and nothing starts before its needs have ended."""
    states = ["pending"] * len(drawn.nodes)
    for _ in range(3 * len(states) + 1):
        found = decide(snapshot(drawn, " ".join(states)))
        if not found and not any(s == "queued" for s in states):
            break
        for decision in found:
            needs = [states[n] for n in drawn.nodes[decision.position].needs]
            if decision.do is Do.QUEUE:
                assert all(need in {"succeeded", "skipped"} for need in needs)
            states[decision.position] = {"queue": "queued", "omit": "omitted"}[decision.do]
        working = [i for i, s in enumerate(states) if s == "queued"]
        if working:
            chosen = data.draw(st.sampled_from(working))
            states[chosen] = data.draw(st.sampled_from(["succeeded", "failed", "error"]))
    assert all(state in ENDED for state in states)
    assert run_state(drawn, states) in {"succeeded", "failed", "error"}


def test_backoff_grows_to_its_maximum():
    after = backoff(limit=4, delay=2, factor=3, maximum=20, on=frozenset({"error"}))
    assert [after("error", attempts) for attempts in range(1, 6)] == [2, 6, 18, 20, None]
    assert after("failed", 1) is None
