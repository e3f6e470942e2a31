"""A run that shows a Workflow as it is: what its nodes say becomes states, and gates are the portal's.

The cluster is played here by the manifests that it would answer with; tests/cluster does the same on a real one.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from pipelines import runs
from pipelines.engines.argo.adopt import Adopted, adopt
from pipelines.engines.argo.follower import _approved
from pipelines.engines.argo.reading import Source
from pipelines.engines.argo.standings import Known, standings
from pipelines.models import AdoptedWorkflow, Approval, Pipeline, Run, Stage
from pipelines.runs import mirrored
from pipelines.runs.push import Push
from pipelines.runs.values import Asked, asked_values
from pipelines.states import RunState, State
from portal.cli.app import run as burger
from teams import tokens
from teams.models import AuditEntry, User

from .helpers import workflow

pytestmark = pytest.mark.django_db

FLOW = """
- name: main
  dag:
    tasks:
    - {name: build, template: leaf}
    - {name: rollout, template: ship, dependencies: [build], arguments: {parameters: [{name: what, value: "1"}]}}
- {name: ship, inputs: {parameters: [{name: what}]}, container: {image: busybox}}
"""
OWNERS = "default: dev\nowners: [{team: ops, task: main/rollout}]\ngates: [{before: main/rollout, gate: ops}]\n"
WHERE = mirrored.Where("ci", "main", "flows", "demo-1", "u1")


def node(name: str, kind: str = "Pod", phase: str = "Succeeded", above: str = "demo-1", **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "type": kind, "phase": phase, "boundaryID": above} | more


def live(found: Adopted, *nodes: dict[str, Any], phase: str = "Running", message: str = "") -> dict[str, Any]:
    root = node("demo-1", "DAG", phase, "")
    status = {"phase": phase, "message": message, "nodes": {one["id"]: one for one in (root, *nodes)}}
    metadata = {"name": "demo-1", "namespace": "flows", "uid": "u1"}
    return {"metadata": metadata, "spec": found.woven.after["spec"], "status": status}


def adopted(text: str = FLOW, owners: str = OWNERS) -> Adopted:
    return adopt([Source("a.yaml", workflow(textwrap.dedent(text)).encode())], Source("owners.yaml", owners.encode()))


def begun(found: Adopted, pipeline: Pipeline, user: User, **more: Any) -> Run:
    push = Push(ref="", commit="", subject=found.title, author=user.username, trigger="workflow", requested_by=user)
    return mirrored.begin(
        pipeline=pipeline, push=push, stages=found.stages, where=WHERE, manifest=found.woven.after, **more
    )


def told(run: Run, workflow: dict[str, Any]) -> dict[str, Stage]:
    known = [Known.of(stage.definition) for stage in Stage.objects.filter(run=run).order_by("position")]
    found = standings(workflow, known)
    mirrored.observe(run=run.pk, seen=found.observed, ending=found.ending)
    run.refresh_from_db()
    return {stage.name: stage for stage in Stage.objects.filter(run=run)}


GATE = "demo-1.burger-gate-rollout"
WAITS = node(GATE, "Suspend", "Running", inputs={"parameters": [{"name": "what", "value": "1"}]})


@pytest.fixture
def ann(cast: Any) -> User:
    return cast.ann


@pytest.fixture
def dora(cast: Any) -> User:
    return cast.dora


@pytest.fixture
def otto(cast: Any) -> User:
    return cast.otto


def test_nodes_become_states_and_the_end_is_the_workflows(pipeline, ann):
    found = adopted(owners="default: dev\n")
    run = begun(found, pipeline, ann)
    assert told(run, live(found))["build"].state == State.PENDING
    stages = told(run, live(found, node("demo-1.build", phase="Pending", message="Unschedulable: no room")))
    assert (stages["build"].state, stages["build"].reason) == (State.QUEUED, "Unschedulable: no room")
    told(run, live(found, node("demo-1.build"), node("demo-1.rollout", phase="Running")))
    assert run.state == RunState.RUNNING
    failed = node("demo-1.rollout", phase="Failed", message="Error (exit code 3)")
    stages = told(run, live(found, node("demo-1.build"), failed, phase="Failed", message="child failed"))
    assert (run.state, run.reason) == (RunState.FAILED, "child failed")
    assert stages["rollout"].reason == "Error (exit code 3)"
    assert not AdoptedWorkflow.objects.get(run=run).open
    last = run.last_seq
    told(run, live(found, node("demo-1.build"), failed, phase="Failed"))
    assert run.last_seq == last


def test_a_gate_asks_its_team_about_what_the_task_is_given(pipeline, ann, otto):
    found = adopted()
    run = begun(found, pipeline, ann)
    stage = told(run, live(found, node("demo-1.build"), WAITS))["before-rollout"]
    assert (stage.state, stage.reason_code, run.state) == (State.WAITING, "approval", RunState.WAITING)
    assert stage.plan["parameters"] == {"what": "1"}
    assert stage.plan["details"]["nodes"] == [GATE]
    last = run.last_seq
    told(run, live(found, node("demo-1.build"), WAITS))
    assert run.last_seq == last
    with pytest.raises(runs.NotAllowed):
        runs.approve(stage=stage.pk, user=ann, digest=stage.plan_digest)
    runs.approve(stage=stage.pk, user=otto, digest=stage.plan_digest)
    stages = told(run, live(found, node("demo-1.build"), WAITS))
    assert stages["before-rollout"].state == State.QUEUED
    resumed = WAITS | {"phase": "Succeeded", "message": "approved by otto for ops"}
    stages = told(run, live(found, node("demo-1.build"), resumed, node("demo-1.rollout", phase="Running")))
    assert (stages["before-rollout"].state, stages["before-rollout"].reason_code) == (State.SUCCEEDED, "")
    assert stages["rollout"].state == State.RUNNING


def test_who_resumes_a_gate_past_the_portal_is_seen(pipeline, ann):
    found = adopted()
    run = begun(found, pipeline, ann)
    told(run, live(found, node("demo-1.build"), WAITS))
    done = live(found, node("demo-1.build"), WAITS | {"phase": "Succeeded"}, node("demo-1.rollout", phase="Running"))
    done["metadata"]["managedFields"] = [
        {"manager": "workflow-controller", "fieldsV1": {"f:status": {}}, "time": "2026-01-01T00:00:09Z"},
        {"manager": "argo", "fieldsV1": {"f:status": {}}, "time": "2026-01-01T00:00:05Z"},
    ]
    stage = told(run, done)["before-rollout"]
    assert (stage.state, stage.reason_code) == (State.SUCCEEDED, "breach")
    assert "resumed on the cluster by argo" in stage.reason
    assert run.events.filter(kind="notice", data__what="breach").count() == 1


def test_rejected_and_canceled_runs_end_as_such(pipeline, ann, otto):
    found = adopted()
    run = begun(found, pipeline, ann)
    stage = told(run, live(found, node("demo-1.build"), WAITS))["before-rollout"]
    runs.reject(stage=stage.pk, user=otto, digest=stage.plan_digest, reason="not today")
    failed = WAITS | {"phase": "Failed", "message": "rejected"}
    omitted = node("demo-1.rollout", "Skipped", "Omitted")
    stages = told(run, live(found, node("demo-1.build"), failed, omitted, phase="Failed"))
    assert (run.state, stages["before-rollout"].state) == (RunState.REJECTED, State.REJECTED)
    assert stages["rollout"].state == State.OMITTED


def test_a_recursion_asks_in_each_turn(pipeline, ann, otto):
    flow = """
    - name: main
      steps:
      - - {name: flip, template: leaf}
      - - {name: again, template: main}
    """
    found = adopted(flow, "default: dev\ngates: [{before: main/flip, gate: ops}]\n")
    run = begun(found, pipeline, ann)
    first = node("demo-1[0].burger-gate-flip", "Suspend", "Running")
    stage = told(run, live(found, first))["before-flip"]
    runs.approve(stage=stage.pk, user=otto, digest=stage.plan_digest)
    inner = "demo-1[2].again"
    second = node(f"{inner}[0].burger-gate-flip", "Suspend", "Running", inner, startedAt="2026-01-01T00:00:09Z")
    nodes = (first | {"phase": "Succeeded"}, node("demo-1[1].flip"), node(inner, "Steps", "Running"), second)
    again = told(run, live(found, *nodes))["before-flip"]
    assert (again.state, again.reason_code) == (State.WAITING, "approval")
    assert again.plan_digest != stage.plan_digest
    assert not run.events.filter(kind="notice").exists()


def test_what_is_only_watched_is_decided_elsewhere_until_it_is_adopted(pipeline, ann, otto):
    found = adopted()
    run = begun(found, pipeline, ann, ours=False, adoptable=True)
    stage = told(run, live(found, node("demo-1.build"), WAITS))["before-rollout"]
    with pytest.raises(runs.Conflict, match="adopt it first"):
        runs.approve(stage=stage.pk, user=otto, digest=stage.plan_digest)
    with pytest.raises(runs.Conflict, match="adopt it first"):
        runs.cancel(run=run.pk, user=otto)
    runs.adopt(run=run.pk, user=otto, reason="ours now")
    runs.approve(stage=stage.pk, user=otto, digest=stage.plan_digest)
    assert Stage.objects.get(pk=stage.pk).state == State.QUEUED


def test_a_workflow_that_is_deleted_ends_its_run(pipeline, ann):
    found = adopted()
    run = begun(found, pipeline, ann)
    told(run, live(found, node("demo-1.build", phase="Running")))
    mirrored.observe(run=run.pk, seen={}, ending=mirrored.Ending(RunState.ERROR, "it was deleted"))
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.ERROR, "it was deleted")
    assert Stage.objects.get(run=run, name="build").state == State.ERROR
    assert Stage.objects.get(run=run, name="rollout").state == State.OMITTED


def test_single_stages_are_neither_retried_nor_skipped(pipeline, ann, otto):
    found = adopted()
    run = begun(found, pipeline, ann)
    stages = told(run, live(found, node("demo-1.build", phase="Failed"), phase="Failed"))
    with pytest.raises(runs.Conflict, match="as a whole"):
        runs.retry(stage=stages["build"].pk, user=ann)
    with pytest.raises(runs.Conflict, match="as a whole"):
        runs.retry_failed(run=run.pk, user=ann)


def test_ownership_is_taken_from_a_team_by_that_team_alone(pipeline, ann, otto):
    with_gate, without = adopted(), adopted(owners="default: dev\n")
    mirrored.remember(pipeline, ann, "a", with_gate.definition, None)
    with pytest.raises(runs.NotAllowed, match="ops"):
        mirrored.remember(pipeline, ann, "b", without.definition, with_gate.definition)


def test_a_suspend_of_its_own_that_ends_by_itself_asks_nobody():
    found = adopted(
        """
        - name: main
          steps: [[{name: pause, template: pause}], [{name: ship, template: leaf}]]
        - {name: pause, suspend: {duration: "20"}}
        """,
        "default: dev\n",
    )
    pause = node("demo-1[0].pause", "Suspend", "Running", "demo-1", templateName="pause")
    group = node("demo-1[0]", "StepGroup", "Running", "demo-1")
    known = [Known(one.name, one.with_["node"], "", one.title, one.gate is not None) for one in found.stages]
    seen = standings(live(found, group, pause), known).observed["pause"]
    assert (seen.state, seen.code, seen.plan) == (State.WAITING, "engine", None)
    assert "by itself" in seen.reason


ASKS = """
- name: main
  steps: [[{name: approval, template: approval}], [{name: ship, template: leaf}]]
- name: approval
  suspend: {}
  inputs: {parameters: [{name: approve, default: "NO", enum: ["YES", "NO"]}]}
  outputs: {parameters: [{name: approve, valueFrom: {supplied: {}}}, {name: message, valueFrom: {supplied: {}}}]}
"""
ASKED = node(
    "demo-1[0].approval", "Suspend", "Running", templateName="approval",
    inputs={"parameters": [{"name": "approve", "value": "NO", "enum": ["YES", "NO"], "description": "Go?"}]},
    outputs={"parameters": [
        {"name": "approve", "valueFrom": {"supplied": {}}}, {"name": "message", "valueFrom": {"supplied": {}}},
        {"name": "known", "value": "1"},
    ]},
)  # fmt: skip


def test_a_suspend_that_asks_for_values_is_let_go_on_with_them(pipeline, ann, dora):
    found = adopted(ASKS, "default: dev\n")
    run = begun(found, pipeline, ann)
    stage = told(run, live(found, node("demo-1[0]", "StepGroup", "Running"), ASKED))["approval"]
    assert [one.name for one in asked_values(stage)] == ["approve", "message"]
    assert asked_values(stage)[0] == Asked("approve", "NO", ("YES", "NO"), "Go?")

    def approve(**values: str) -> Stage:
        return runs.approve(stage=stage.pk, user=dora, digest=stage.plan_digest, values=values)

    with pytest.raises(runs.Conflict, match="asks for a value, message"):
        approve(approve="YES")
    with pytest.raises(runs.Conflict, match="has to be YES or NO, found 'MAYBE'"):
        approve(approve="MAYBE", message="hello")
    with pytest.raises(runs.Conflict, match="does not ask for masage; it asks for approve, message"):
        approve(masage="hello")
    with pytest.raises(runs.Conflict, match="4,001 characters; a value may have 4,000"):
        approve(message="x" * 4_001)
    approve(message="hello")
    vote = Approval.objects.get(stage=stage)
    assert vote.values == {"approve": "NO", "message": "hello"}
    (decided,) = run.events.filter(kind="decision")
    assert decided.data["values"] == vote.values
    assert AuditEntry.objects.filter(action="approve").get().data["values"] == vote.values
    ended = _approved(Stage.objects.get(pk=stage.pk))(ASKED)
    assert ended["outputs"]["parameters"] == [
        {"name": "approve", "value": "NO"}, {"name": "message", "value": "hello"}, {"name": "known", "value": "1"},
    ]  # fmt: skip


def test_values_are_asked_for_on_the_page_and_in_the_api(client, pipeline, ann, dora):
    found = adopted(ASKS, "default: dev\n")
    run = begun(found, pipeline, ann)
    stage = told(run, live(found, node("demo-1[0]", "StepGroup", "Running"), ASKED))["approval"]
    client.force_login(dora)
    where = f"runs/{pipeline.slug}/{run.number}/stages/approval"
    asked = client.get(f"/api/{where}").json()["gate"]["values"]
    assert asked[0] == {"name": "approve", "default": "NO", "choices": ["YES", "NO"], "description": "Go?"}
    page = client.get(f"/runs/{pipeline.slug}/{run.number}?stage=approval").content.decode()
    assert '<select name="value-approve">' in page
    assert 'name="value-message"' in page
    body = {"digest": stage.plan_digest, "value-approve": "YES", "value-message": "ship it", "reason": ""}
    address = f"/runs/{pipeline.slug}/{run.number}/stages/approval/do/approve"
    assert client.post(address, body).status_code == 302
    (vote,) = client.get(f"/api/{where}").json()["approvals"]
    assert vote["values"] == {"approve": "YES", "message": "ship it"}
    assert "ship it" in client.get(f"/runs/{pipeline.slug}/{run.number}?stage=approval&tab=decisions").content.decode()


@pytest.mark.django_db(transaction=True)
def test_values_are_given_on_the_command_line(live_server, pipeline, ann, dora, capsys):
    found = adopted(ASKS, "default: dev\n")
    run = begun(found, pipeline, ann)
    stage = told(run, live(found, node("demo-1[0]", "StepGroup", "Running"), ASKED))["approval"]
    _, token = tokens.create(user=dora, days=1)
    name, known = f"{pipeline.slug}/{run.number}/approval", ("--url", live_server.url, "--token", token)
    assert burger(["approve", name, "--yes", *known]) == 4
    said = capsys.readouterr()
    assert "asks for approve: Go?" in said.out
    assert "This gate asks for a value, message" in said.err
    assert burger(["approve", name, "--yes", "--value", "approve=YES", "--value", "message=a=b", *known]) == 0
    assert Approval.objects.get(stage=stage).values == {"approve": "YES", "message": "a=b"}
