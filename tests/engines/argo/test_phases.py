"""What the controller says of its nodes, in our words."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from pipelines.engines.argo.phases import NodesElsewhereError, nodes_of, seen, standing, state_of
from pipelines.states import Reason, State


def node(name: str, kind: str = "Pod", phase: str = "Succeeded", above: str = "", **more: Any) -> dict[str, Any]:
    """The id of a node is its name here."""
    return {"id": name, "name": name, "type": kind, "phase": phase, "boundaryID": above} | more


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "wf"},
        "spec": {"entrypoint": "main"},
        "status": {"phase": "Running", "nodes": {one["id"]: one for one in nodes}},
    }


def of(found: dict[str, Any], path: str, **options: bool):
    return standing([one for one in seen(found) if one.path == path], **options)


@pytest.mark.parametrize(
    ("given", "state", "code", "reason"),
    [
        ({"phase": "Pending", "message": "Unschedulable: 0/2 nodes are available"}, State.QUEUED, "", "Unschedulable"),
        ({"phase": "Running"}, State.RUNNING, "", ""),
        ({"phase": "Running", "type": "Suspend"}, State.WAITING, Reason.APPROVAL, "somebody"),
        ({"phase": "Pending", "message": "Waiting for a/b lock. Lock status: 0/1"}, State.WAITING, Reason.LOCK, "lock"),
        ({"phase": "Pending", "synchronizationStatus": {"waiting": "a"}}, State.WAITING, Reason.LOCK, "lock"),
        ({"phase": "Failed", "message": "Error (exit code 3)"}, State.FAILED, "", "exit code 3"),
        ({"phase": "Failed", "message": "workflow shutdown with strategy: Stop"}, State.CANCELED, "", "shutdown"),
        ({"phase": "Error", "message": "pod deleted"}, State.ERROR, "", "pod deleted"),
        ({"phase": "Skipped"}, State.SKIPPED, "", "condition"),
        ({"phase": "Omitted"}, State.OMITTED, "", "depends"),
        ({}, State.PENDING, "", ""),
        ({"phase": "Melted"}, State.UNKNOWN, "person", "Melted"),
    ],
)  # fmt: skip
def test_a_phase_is_a_state_with_a_reason(given, state, code, reason):
    found = state_of(given)
    assert found[:2] == (state, code)
    assert reason in found[2]


def test_each_node_has_the_path_of_its_task():
    found = workflow(
        node("wf", "DAG", "Running"),
        node("wf.build", above="wf"),
        node("wf.north", "Steps", above="wf"),
        node("wf.north[0]", "StepGroup", above="wf.north"),
        node("wf.north[0].roll-out", above="wf.north"),
        node("wf.each", "TaskGroup", above="wf"),
        node("wf.each(0:a.b[0].onExit)", "DAG", above="wf"),
        node("wf.each(0:a.b[0].onExit).deep", above="wf.each(0:a.b[0].onExit)"),
        node("wf.build.onExit", "Steps", above="wf"),
        node("wf.build.onExit[0].tell", above="wf.build.onExit"),
        node("wf.build.hooks.running", above="wf"),
        node("wf.onExit"),
        node("wf.hooks.watch"),
    )
    assert {one.name: (one.path, one.index) for one in seen(found)} == {
        "wf": ("main", ""),
        "wf.build": ("main/build", ""),
        "wf.north": ("main/north", ""),
        "wf.north[0].roll-out": ("main/north/roll-out", ""),
        "wf.each": ("main/each", ""),
        "wf.each(0:a.b[0].onExit)": ("main/each", "(0:a.b[0].onExit)"),
        "wf.each(0:a.b[0].onExit).deep": ("main/each/deep", ""),
        "wf.build.onExit": ("main/build:exit", ""),
        "wf.build.onExit[0].tell": ("main/build:exit/tell", ""),
        "wf.build.hooks.running": ("main/build:running", ""),
        "wf.onExit": ("exit", ""),
        "wf.hooks.watch": ("watch", ""),
    }


def test_retries_stand_for_one_task_and_the_last_one_says_why():
    found = workflow(
        node("wf", "DAG", "Running"),
        node("wf.a", "Retry", "Failed", "wf", message="No more retries left"),
        node("wf.a(0)", "Pod", "Failed", "wf", message="Error (exit code 1)"),
        node("wf.a(1)", "Pod", "Failed", "wf", message="Error (exit code 2)"),
    )
    one = of(found, "main/a")
    assert (one.state, one.reason, one.total) == (State.FAILED, "No more retries left", 0)
    assert len(one.nodes) == 3


def test_items_count_and_the_one_that_waits_is_shown():
    found = workflow(
        node("wf", "Steps", "Running"),
        node("wf[0].a(0:x)", above="wf"),
        node("wf[0].a(1:y)", "Suspend", "Running", above="wf"),
        node("wf[0].a(2:z)", phase="Running", above="wf"),
    )
    one = of(found, "main/a")
    assert (one.state, one.code, one.done, one.total) == (State.WAITING, Reason.APPROVAL, 1, 3)


def test_items_of_steps_end_when_no_more_can_come():
    found = workflow(node("wf", "Steps", "Running"), node("wf[0].a(0:x)", above="wf"))
    assert of(found, "main/a", more=True).state is State.RUNNING
    assert of(found, "main/a").state is State.SUCCEEDED


def test_a_retry_whose_pod_waits_for_a_node_does_not_run():
    found = workflow(
        node("wf", "DAG", "Running"),
        node("wf.a", "Retry", "Running", "wf"),
        node("wf.a(0)", "Pod", "Pending", "wf", message="Unschedulable: no room"),
    )
    one = of(found, "main/a")
    assert (one.state, one.reason) == (State.QUEUED, "Unschedulable: no room")


def test_a_recursion_shows_its_last_turn():
    found = workflow(
        node("wf", "Steps", "Running"),
        node("wf[0].flip", above="wf", startedAt="2026-01-01T00:00:00Z", finishedAt="2026-01-01T00:00:05Z"),
        node("wf[1].again", "Steps", "Running", above="wf"),
    )
    assert of(found, "main/flip").state is State.SUCCEEDED
    assert of(found, "main/again").state is State.RUNNING


def test_compressed_nodes_are_read_and_those_elsewhere_named():
    nodes = {"a": node("wf")}
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    assert nodes_of({"status": {"compressedNodes": packed}}) == nodes
    with pytest.raises(NodesElsewhereError, match="nodeStatusOffLoad"):
        nodes_of({"metadata": {"name": "big"}, "status": {"offloadNodeStatusVersion": "fnv:1"}})
    with pytest.raises(NodesElsewhereError, match="cannot be read"):
        nodes_of({"status": {"compressedNodes": "bm90IGd6aXA="}})
