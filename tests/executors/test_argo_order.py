"""What a stage of the kind `argo` submits."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.executors.argo.order import order
from pipelines.executors.argo.referred import refers, refuse_foreign_accounts
from pipelines.executors.base import Artifact, PlanError, StageSpec, Workplace
from pipelines.executors.store import Store

FLOW = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: demo-}
spec:
  entrypoint: main
  onExit: leaf
  arguments: {parameters: [{name: who, value: nobody}]}
  templates:
  - name: main
    inputs: {parameters: [{name: who}, {name: how, value: loudly}]}
    dag:
      tasks:
      - {name: a, template: leaf}
      - name: b
        template: leaf
        depends: a
        when: "{{tasks.a.outputs.result}} == 1"
        withItems: [x, y]
        arguments:
          parameters:
          - name: p
            value: "{{tasks.a.outputs.parameters.n}} {{inputs.parameters.who}} {{inputs.parameters.how}} {{item}}"
  - {name: leaf, container: {image: busybox}}
"""
CONNECTIONS = """
clusters: {main: {kubeconfig: k}}
workflows: {ci: {cluster: main, namespace: flows, teams: {dev: [builder, other]}}}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    (tmp_path / "connections.yaml").write_text(CONNECTIONS)
    return Workplace(home=tmp_path)


@pytest.fixture
def spec(workplace: Workplace, tmp_path: Path) -> Callable[..., StageSpec]:
    def make(flow: str = FLOW, **with_: Any) -> StageSpec:
        tree = tmp_path / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "flow.yaml").write_text(textwrap.dedent(flow))
        digest, size = Store(workplace.home).pack(tree)
        return StageSpec(
            run=1, pipeline="demo", stage="b", kind="argo", owner="dev", commit="0" * 40,
            with_={"place": "ci", "file": "flow.yaml", **with_},
            artifacts={"checkout": Artifact("checkout", "workspace", digest, size)},
        )  # fmt: skip

    return make


def given(spec: StageSpec, **outputs: Any) -> StageSpec:
    made = Artifact("a", "report", "sha256:" + "0" * 64, 0, {"outputs": outputs})
    return replace(spec, artifacts={**spec.artifacts, "a": made})


def test_the_whole_file_is_submitted_as_it_is(spec, workplace):
    found = order(spec(arguments={"who": "ann"}), workplace)
    body = found.manifest["spec"]
    assert body["onExit"] == "leaf"
    assert body["serviceAccountName"] == found.account == "builder"
    assert body["arguments"]["parameters"] == [{"name": "who", "value": "ann"}]
    assert found.manifest["metadata"]["namespace"] == "flows"


def test_a_task_keeps_what_argo_says_of_it(spec, workplace):
    wanted = given(spec(task="main/b"), result="1", parameters={"n": "7"})
    body = order(wanted, workplace).manifest["spec"]
    assert body["entrypoint"] == "burger-stage"
    assert "onExit" not in body
    ((call,),) = body["templates"][-1]["steps"]
    assert call == {
        "name": "b",
        "template": "leaf",
        "when": "1 == 1",
        "withItems": ["x", "y"],
        "arguments": {"parameters": [{"name": "p", "value": "7 {{workflow.parameters.who}} loudly {{item}}"}]},
    }


@pytest.mark.parametrize(
    ("with_", "message"),
    [
        ({"task": "main/c"}, "no task main/c; it has main/a, main/b"),
        ({"template": "other"}, "no template other"),
        ({"file": "../x.yaml"}, "inside the repository"),
        ({"file": "no.yaml"}, "no such file"),
        ({"place": "prod"}, "connections.yaml has the workflow places ci"),
        ({"task": "main/b"}, "the stage a, which gave nothing"),
        ({"color": "red"}, "unknown keys color"),
    ],
)
def test_what_cannot_be_is_said(spec, workplace, with_, message):
    with pytest.raises(PlanError, match=message):
        order(spec(**with_), workplace)


def test_what_another_stage_gave_is_no_template_of_argo(spec, workplace):
    with pytest.raises(PlanError, match="which Argo would fill in"):
        order(given(spec(task="main/b"), result="{{workflow.uid}}", parameters={"n": "7"}), workplace)


@pytest.mark.parametrize(
    "place",
    [
        "serviceAccountName: admin",
        "podSpecPatch: '{serviceAccountName: admin}'",
        'podSpecPatch: \'{"service\\u0041ccountName": "admin"}\'',
        "podSpecPatch: 'serviceaccountname: admin'",
        'podSpecPatch: \'{"containers": [{"name": "{{workflow.name}}"}]}\'',
        "templates: [{name: x, serviceAccountName: admin}]",
        "executor: {serviceAccountName: admin}",
    ],
)
def test_an_account_of_somebody_else_is_refused(spec, workplace, place):
    flow = (
        f"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {{name: x}}\nspec:\n  entrypoint: x\n  {place}\n"
    )
    with pytest.raises(PlanError, match="service account"):
        order(spec(flow), workplace)


def test_an_account_of_the_teams_own_is_kept(spec, workplace):
    flow = FLOW.replace("entrypoint: main", "entrypoint: main\n  serviceAccountName: other")
    assert order(spec(flow), workplace).account == "other"


def test_who_may_not_run_there_is_told_who_may(spec, workplace):
    with pytest.raises(PlanError, match=r"ops may run nothing at ci: connections\.yaml allows dev there"):
        order(replace(spec(), owner="ops"), workplace)


def library(*templates: str, name: str = "lib", kind: str = "WorkflowTemplate") -> dict[tuple[str, str], Any]:
    text = "spec:\n  serviceAccountName: other\n  templates:\n" + "".join(f"  - {one}\n" for one in templates)
    return {(kind, name): yaml.safe_load(text)}


CALLS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: x}
spec:
  entrypoint: main
  templates:
  - {name: main, dag: {tasks: [{name: a, templateRef: {name: lib, template: TEMPLATE}}]}}
"""
BUILD, SHIP = "{name: build, container: {image: a}}", "{name: ship, serviceAccountName: admin, container: {image: a}}"


@pytest.mark.parametrize(
    "template",
    [
        SHIP.replace("ship", "wanted"),
        "{name: wanted, steps: [[{name: a, template: ship}]]}",
        "{name: wanted, dag: {tasks: [{name: a, template: build, onExit: ship}]}}",
        "{name: wanted, dag: {tasks: [{name: a, template: build, hooks: {exit: {template: ship}}}]}}",
        "{name: wanted, dag: {tasks: [{name: a, inline: {serviceAccountName: admin, container: {image: a}}}]}}",
        "{name: wanted, dag: {tasks: [{name: a, templateRef: {name: far, template: ship, clusterScope: true}}]}}",
        "{name: wanted, executor: {serviceAccountName: admin}, container: {image: a}}",
        "{name: wanted, podSpecPatch: '{{inputs.parameters.p}}', container: {image: a}}",
    ],
)
def test_what_the_cluster_has_runs_with_the_teams_accounts_too(spec, workplace, template):
    known = library(template, BUILD, SHIP) | library(SHIP, name="far", kind="ClusterWorkflowTemplate")
    wanted = order(spec(CALLS.replace("TEMPLATE", "wanted")), workplace)
    with pytest.raises(PlanError, match=r"to which it refers, names the service account '(admin|\?)'"):
        refuse_foreign_accounts(wanted, "dev", lambda kind, name: known.get((kind, name)))
    other = order(spec(CALLS.replace("TEMPLATE", "build")), workplace)
    refuse_foreign_accounts(other, "dev", lambda kind, name: known.get((kind, name)))


def test_a_whole_workflow_that_is_referred_to_runs_with_the_teams_accounts_too(spec, workplace):
    flow = f"{CALLS.partition('spec:')[0]}spec: {{workflowTemplateRef: {{name: lib}}}}"
    wanted = order(spec(flow), workplace)
    assert refers(wanted)
    # What the document says of itself as a whole counts less than what the Workflow says.
    refuse_foreign_accounts(wanted, "dev", lambda kind, name: library(BUILD).get((kind, name)))
    with pytest.raises(PlanError, match="names the service account 'admin'"):
        refuse_foreign_accounts(wanted, "dev", lambda kind, name: library(BUILD, SHIP).get((kind, name)))


def test_a_reference_that_leads_nowhere_or_anywhere_is_refused(spec, workplace):
    assert not refers(order(spec(), workplace))
    with pytest.raises(PlanError, match="refers to WorkflowTemplate lib, and its cluster has none"):
        refuse_foreign_accounts(order(spec(CALLS), workplace), "dev", lambda *_: None)
    later = order(spec(CALLS.replace("TEMPLATE", "'{{workflow.parameters.t}}'")), workplace)
    with pytest.raises(PlanError, match="filled in while it runs"):
        refuse_foreign_accounts(later, "dev", lambda *_: None)
