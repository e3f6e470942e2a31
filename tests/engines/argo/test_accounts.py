"""Whoever submits a Workflow tries to have it run with the service account of another team."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.engines.argo import submitting
from pipelines.engines.argo.chosen import AdoptError
from pipelines.engines.argo.reading import Source

from .helpers import document, workflow

PLACES = {
    "clusters": {"main": {"kubeconfig": "nowhere"}},
    "workflows": {"ci": {"cluster": "main", "namespace": "ci", "teams": {"dev": ["builder"], "ops": ["deployer"]}}},
}
OWNERS = "default: dev\nowners: [{team: ops, task: main/ship}]\n"
ACCOUNT = "serviceAccountName: builder\n"
SHIP = "- {name: ship, serviceAccountName: deployer, container: {image: busybox}}\n"
MAIN = "- {name: main, steps: [[{name: build, template: leaf}]]}\n"

Prepare = Callable[..., dict]


@pytest.fixture
def prepare(db: None, home: Path, cast: object, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """What would be submitted; `there` are the templates that the cluster has."""
    (home / "connections.yaml").write_text(yaml.safe_dump(PLACES))

    def prepared(*texts: str, there: str = "", owners: str = "default: dev\n") -> dict:
        def find(kind: str, _namespace: str, name: str) -> Source | None:
            known = [one for one in yaml.safe_load_all(there) if one]
            found = [one for one in known if (one["kind"], one["metadata"]["name"]) == (kind, name)]
            return Source(f"main:{name}", json.dumps(found[0], indent=1).encode()) if found else None

        monkeypatch.setattr(submitting, "_elsewhere", lambda _: find)
        sources = [Source(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
        found, _ = submitting.prepare(submitting.Order(sources, Source("owners.yaml", owners.encode()), "ci"))
        return found.woven.after

    return prepared


def library(template: str, name: str = "lib") -> str:
    return document(f"spec:\n  templates:\n  {template}", "WorkflowTemplate", name)


def test_each_task_runs_with_an_account_of_the_team_that_owns_it(prepare: Prepare) -> None:
    main = "- {name: main, steps: [[{name: build, template: leaf}], [{name: ship, template: ship}]]}\n"
    text = workflow(main + SHIP, spec=ACCOUNT)
    assert prepare(text, owners=OWNERS)["spec"]["serviceAccountName"] == "builder"
    with pytest.raises(AdoptError, match=r"ship would run with the service account deployer .*dev.* has builder"):
        prepare(text)


@pytest.mark.parametrize(
    "patch",
    [
        "serviceAccountName: deployer",
        '{"service\\u0041ccountName": "deployer"}',
        "serviceAccount: deployer",
        "SERVICEACCOUNTNAME: deployer",
        "{serviceAccountName: builder, serviceaccountname: deployer}",
        "containers: [{name: main, image: '{{workflow.name}}'}]",
        "{{=sprig.b64dec('c2VydmljZQ==')}}",
        "<<: {serviceAccountName: deployer}",
        "[serviceAccountName, deployer]",
        "{",
    ],
)
@pytest.mark.parametrize("where", ["workflow", "template", "defaults", "inline"])
def test_no_patch_of_pods_sets_one(prepare: Prepare, patch: str, where: str) -> None:
    said = f"podSpecPatch: {json.dumps(patch)}"
    one = f"{{name: leaf2, {said}, container: {{image: busybox}}}}"
    spec, templates = ACCOUNT, MAIN
    if where == "workflow":
        spec += said + "\n"
    elif where == "defaults":
        spec += f"templateDefaults: {{{said}}}\n"
    elif where == "template":
        templates = f"- {{name: main, steps: [[{{name: build, template: leaf2}}]]}}\n- {one}\n"
    else:
        inline = one.replace("name: leaf2, ", "")
        templates = f"- {{name: main, dag: {{tasks: [{{name: build, inline: {inline}}}]}}}}\n"
    with pytest.raises(AdoptError, match=r"service account"):
        prepare(workflow(templates, spec=spec))


def test_a_patch_that_sets_something_else_is_let_by(prepare: Prepare) -> None:
    limits = {"limits": {"cpu": "{{workflow.parameters.cpu}}"}}
    patch = json.dumps({"containers": [{"name": "main", "resources": limits}]})
    spec = f"{ACCOUNT}arguments: {{parameters: [{{name: cpu, value: GIVEN}}]}}\npodSpecPatch: {json.dumps(patch)}\n"
    assert "podSpecPatch" in prepare(workflow(MAIN, spec=spec.replace("GIVEN", "100m")))["spec"]
    ends = json.dumps('1"}}}], "serviceAccountName": "deployer", "volumes": [{"a": {"b": {"c": "')
    with pytest.raises(AdoptError, match=r"service account"):
        prepare(workflow(MAIN, spec=spec.replace("GIVEN", ends)))


@pytest.mark.parametrize(
    "spec",
    [
        "templateDefaults: {serviceAccountName: deployer}\n",
        "executor: {serviceAccountName: deployer}\n",
        "templateDefaults: {executor: {serviceAccountName: deployer}}\n",
        "artifactGC: {serviceAccountName: deployer}\n",
    ],
)
def test_nothing_beside_the_templates_names_one(prepare: Prepare, spec: str) -> None:
    with pytest.raises(AdoptError, match=r"build would run with the service account deployer"):
        prepare(workflow(MAIN, spec=ACCOUNT + spec))


@pytest.mark.parametrize(
    "call",
    [
        "{name: build, inline: {serviceAccountName: deployer, container: {image: busybox}}}",
        "{name: build, template: other}",
        "{name: build, templateRef: {name: lib, template: ship}}",
        "{name: build, template: leaf, hooks: {exit: {templateRef: {name: lib, template: ship}}}}",
        "{name: build, template: leaf, onExit: other}",
    ],
)
def test_whatever_is_called_runs_with_an_account_of_the_callers_team(prepare: Prepare, call: str) -> None:
    templates = f"- {{name: main, dag: {{tasks: [{call}]}}}}\n{SHIP.replace('name: ship', 'name: other')}"
    with pytest.raises(AdoptError, match=r"would run with the service account deployer"):
        prepare(workflow(templates, spec=ACCOUNT), there=library(SHIP))


def test_a_template_whose_name_is_filled_in_later_is_refused(prepare: Prepare) -> None:
    given = "arguments: {parameters: [{name: what, value: leaf}]}\n"
    templates = '- {name: main, dag: {tasks: [{name: build, template: "{{workflow.parameters.what}}"}]}}\n' + SHIP
    with pytest.raises(AdoptError, match=r"build runs the template .* filled in while it runs"):
        prepare(workflow(templates, spec=ACCOUNT + given))


def test_the_templates_of_the_cluster_count_where_the_workflow_looks_for_them(prepare: Prepare) -> None:
    """What is shown and judged is what runs, whatever a file of the same name says."""
    harmless = library("- {name: ship, container: {image: busybox}}\n")
    text = workflow(
        "- {name: main, steps: [[{name: build, templateRef: {name: lib, template: ship}}]]}\n", spec=ACCOUNT
    )
    with pytest.raises(AdoptError, match=r"would run with the service account deployer"):
        prepare(text, harmless, there=library(SHIP))
    with pytest.raises(AdoptError, match=r"WorkflowTemplate lib is among the files, but the Workflow will look for it"):
        prepare(text, harmless)
    assert prepare(text, library(SHIP), there=harmless)


def test_what_is_written_out_is_taken_from_the_files(prepare: Prepare) -> None:
    lent = document(
        "spec:\n  entrypoint: main\n  serviceAccountName: builder\n  templates: [{name: main, http: {url: u}}]\n",
        "WorkflowTemplate", "lib",
    )  # fmt: skip
    text = document("spec: {workflowTemplateRef: {name: lib}}\n")
    assert prepare(text, lent)["spec"]["templates"][0]["name"] == "main"
    with pytest.raises(AdoptError, match=r"would run with the service account deployer"):
        prepare(text, lent.replace("builder", "deployer"))
