"""Workflows that exist, under ownership, on a real controller."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from pipelines import runs
from pipelines.engines.argo import submitting
from pipelines.engines.argo.cluster import templates_of
from pipelines.engines.argo.importing import import_files
from pipelines.engines.argo.reading import Source
from pipelines.models import AdoptedWorkflow, Run, Stage
from pipelines.runs.values import asked_values
from pipelines.states import RunState, State
from tests.cluster import argo_flows as flows
from tests.cluster.facts import Facts

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]
OWNERS = "default: dev\nowners: [{team: ops, task: main/ship}]\ngates: [{before: main/ship, gate: ops}]\n"


@pytest.fixture
def image(cluster: Facts) -> str:
    return cluster.base_image["debian"]


@pytest.fixture
def place(cluster, kubernetes_client, namespace, home, image) -> str:
    flows.let_run(kubernetes_client, namespace)
    flows.connections(home, cluster, namespace)
    return namespace


@pytest.fixture
def custom(kubernetes_client: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(kubernetes_client)


def demo(image: str) -> dict[str, Any]:
    tasks = [
        {"name": "build", "template": "leaf"},
        {"name": "ship", "template": "ship", "dependencies": ["build"], "arguments": {
            "parameters": [{"name": "what", "value": "{{tasks.build.outputs.result}}"}]}},
        {"name": "each", "template": "leaf", "withItems": ["a", "b"], "dependencies": ["build"]},
    ]  # fmt: skip
    ship = flows.leaf(image, "ship", "echo shipped {{inputs.parameters.what}}")
    ship["inputs"] = {"parameters": [{"name": "what"}]}
    return flows.workflow(
        "demo", [{"name": "main", "dag": {"tasks": tasks}}, flows.leaf(image, script="echo 42"), ship]
    )


def submitted(pipeline: Any, user: Any, manifest: dict[str, Any], owners: str = OWNERS) -> Run:
    order = submitting.Order([Source("a.yaml", flows.text(manifest))], Source("owners.yaml", owners.encode()), "ci")
    return submitting.submit(pipeline=pipeline, user=user, order=order)


def stage(run: Run, name: str) -> Stage:
    return Stage.objects.get(run=run, name=name)


def waits(run: Run, name: str) -> Stage | None:
    found = stage(run, name)
    return found if (found.state, found.reason_code) == (State.WAITING, "approval") else None


def ended(run: Run) -> RunState | None:
    run.refresh_from_db()
    return RunState(run.state) if run.ended_at else None


def live(custom: client.CustomObjectsApi, run: Run) -> dict[str, Any]:
    adopted = AdoptedWorkflow.objects.get(run=run)
    return custom.get_namespaced_custom_object(*flows.GROUP, adopted.namespace, "workflows", adopted.name)


def gate_of(workflow: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in workflow["status"]["nodes"].values() if one["type"] == "Suspend"]
    return found


def test_a_gate_approved_in_the_portal_resumes_exactly_its_node(place, custom, image, pipeline, cast, home):
    run = submitted(pipeline, cast.ann, demo(image))
    with flows.watching(home) as until:
        asked = until(lambda: waits(run, "before-ship"))
        assert asked.plan["parameters"] == {"what": "42"}
        assert until(lambda: stage(run, "each").state == State.SUCCEEDED)
        assert stage(run, "each").progress["total"] == 2
        assert stage(run, "ship").state == State.PENDING
        runs.approve(stage=asked.pk, user=cast.otto, digest=asked.plan_digest, reason="fine")
        assert until(lambda: ended(run)) == RunState.SUCCEEDED
    node = gate_of(live(custom, run))
    said = {one["name"]: one.get("value") for one in node["outputs"]["parameters"]}
    assert (said["burger-by"], said["burger-reason"]) == ("otto for ops", "fine")
    assert said["burger-plan"] == asked.plan_digest
    assert "shipped 42" in "".join(one.data["text"] for one in stage(run, "ship").events.filter(kind="log"))
    assert stage(run, "before-ship").reason_code == ""


def test_who_resumes_a_gate_on_the_cluster_commits_a_breach(place, custom, image, pipeline, cast, home):
    run = submitted(pipeline, cast.ann, demo(image))
    with flows.watching(home) as until:
        until(lambda: waits(run, "before-ship"))
        workflow = live(custom, run)
        node = gate_of(workflow)
        done = {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z", "message": "I could not wait"}
        body = {"status": {"nodes": {node["id"]: done}}}
        name = workflow["metadata"]["name"]
        custom.patch_namespaced_custom_object(
            *flows.GROUP, place, "workflows", name, body, field_manager="somebody",
            _content_type="application/merge-patch+json",
        )  # fmt: skip
        until(lambda: stage(run, "before-ship").reason_code == "breach")
        assert "somebody" in stage(run, "before-ship").reason
        until(lambda: ended(run))
    assert run.events.filter(kind="notice", data__what="breach").count() == 1


def test_rejected_it_fails_and_canceled_it_stops(place, custom, image, pipeline, cast, home):
    rejected, canceled = submitted(pipeline, cast.ann, demo(image)), submitted(pipeline, cast.ann, demo(image))
    with flows.watching(home) as until:
        asked = until(lambda: waits(rejected, "before-ship"))
        runs.reject(stage=asked.pk, user=cast.otto, digest=asked.plan_digest, reason="not today")
        until(lambda: waits(canceled, "before-ship"))
        runs.cancel(run=canceled.pk, user=cast.pia, reason="enough")
        assert until(lambda: ended(rejected)) == RunState.REJECTED
        assert until(lambda: ended(canceled)) == RunState.CANCELED
    assert live(custom, canceled)["spec"]["shutdown"] == "Stop"
    assert stage(rejected, "ship").state == State.OMITTED


def test_what_others_submit_is_a_run_and_can_be_adopted(
    place, custom, image, pipeline, cast, home, cluster
):  # fmt: skip
    watch = {"labels": "app=shop", "pipeline": pipeline.slug, "owner": "ops", "adoptable": True}
    flows.connections(home, cluster, place, watch=[watch])
    templates = [
        {"name": "main", "steps": [[{"name": "look", "template": "wait"}], [{"name": "go", "template": "leaf"}]]},
        {"name": "wait", "suspend": {}},
        flows.leaf(image),
    ]
    manifest = flows.workflow("theirs", templates)
    manifest["metadata"]["labels"] = {"app": "shop"}
    custom.create_namespaced_custom_object(*flows.GROUP, place, "workflows", manifest)
    with flows.watching(home) as until:
        run = until(lambda: Run.objects.filter(engine="workflow", trigger="argo").first())
        asked = until(lambda: waits(run, "look"))
        with pytest.raises(runs.Conflict, match="adopt it first"):
            runs.approve(stage=asked.pk, user=cast.otto, digest=asked.plan_digest)
        runs.adopt(run=run.pk, user=cast.otto)
        runs.approve(stage=asked.pk, user=cast.otto, digest=asked.plan_digest)
        assert until(lambda: ended(run)) == RunState.SUCCEEDED
    assert stage(run, "look").reason_code == ""


def test_a_workflow_that_is_deleted_ends_its_run(place, custom, image, pipeline, cast, home):
    run = submitted(pipeline, cast.ann, demo(image))
    with flows.watching(home) as until:
        until(lambda: waits(run, "before-ship"))
        name = AdoptedWorkflow.objects.get(run=run).name
        custom.delete_namespaced_custom_object(*flows.GROUP, place, "workflows", name)
        assert until(lambda: ended(run)) == RunState.ERROR
    assert "was deleted" in run.reason


def test_what_is_decided_while_nobody_watches_is_done_afterwards(place, custom, image, pipeline, cast, home):
    run = submitted(pipeline, cast.ann, demo(image))
    with flows.watching(home) as until:
        asked = until(lambda: waits(run, "before-ship"))
    runs.approve(stage=asked.pk, user=cast.otto, digest=asked.plan_digest)
    assert gate_of(live(custom, run))["phase"] == "Running"
    with flows.watching(home) as until:
        assert until(lambda: ended(run)) == RunState.SUCCEEDED


def test_references_lead_to_the_cluster(place, custom, image, home):
    library = {"apiVersion": "/".join(flows.GROUP), "kind": "WorkflowTemplate", "metadata": {"name": "library"}}
    library["spec"] = {"templates": [flows.leaf(image, "pack")]}
    custom.create_namespaced_custom_object(*flows.GROUP, place, "workflowtemplates", library)
    step = {"name": "a", "templateRef": {"name": "library", "template": "pack"}}
    source = Source("a.yaml", flows.text(flows.workflow("demo", [{"name": "main", "steps": [[step]]}])))
    found = import_files([source], elsewhere=templates_of(home, "main", place))
    assert not found.problems, found.report()
    assert [task.does for task in found.graphs[0].tasks] == ["steps", "container"]
    assert import_files([source]).problems


def test_a_suspend_that_asks_for_values_hands_on_what_the_approver_said(place, custom, image, pipeline, cast, home):
    what = {"name": "what", "value": "{{steps.ask.outputs.parameters.message}}"}
    ship = flows.leaf(image, "ship", "echo shipped {{inputs.parameters.what}}")
    ship["inputs"] = {"parameters": [{"name": "what"}]}
    ask = {
        "name": "ask",
        "suspend": {},
        "inputs": {"parameters": [{"name": "where", "default": "north", "enum": ["north", "south"]}]},
        "outputs": {"parameters": [{"name": one, "valueFrom": {"supplied": {}}} for one in ("where", "message")]},
    }
    steps = [
        [{"name": "ask", "template": "ask"}],
        [{"name": "ship", "template": "ship", "arguments": {"parameters": [what]}}],
    ]
    manifest = flows.workflow("asks", [{"name": "main", "steps": steps}, ask, ship])
    run = submitted(pipeline, cast.ann, manifest, "default: dev\n")
    with flows.watching(home) as until:
        asked = until(lambda: waits(run, "ask"))
        assert [(one.name, one.default, one.choices) for one in asked_values(asked)] == [
            ("where", "north", ("north", "south")), ("message", None, ()),
        ]  # fmt: skip
        runs.approve(stage=asked.pk, user=cast.dora, digest=asked.plan_digest, values={"message": "hello from dora"})
        assert until(lambda: ended(run)) == RunState.SUCCEEDED
    node = gate_of(live(custom, run))
    assert {one["name"]: one["value"] for one in node["outputs"]["parameters"]} == {
        "where": "north", "message": "hello from dora",
    }  # fmt: skip
    assert "shipped hello from dora" in "".join(
        one.data["text"] for one in stage(run, "ship").events.filter(kind="log")
    )
