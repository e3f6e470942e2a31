"""From a pipeline file to what is submitted: the graph, its words, and that equal files give equal bytes."""

from __future__ import annotations

import json

import pytest

from pipelines.definition.parse import parse
from pipelines.engines.argo.conditions import when_of
from pipelines.engines.argo.manifests import task_name
from pipelines.engines.argo.printing import documents

FILE = """
name: shop
engine: argo
parameters: {soak: 2s}
environments: {staging: {owner: ops}}
stages:
  - {name: source, kind: source, owner: dev, retry: {limit: 2, backoff: 2s}}
  - {name: test, kind: command, owner: dev, needs: [source], timeout: 60s, matrix: {v: ["3.11", "3.12"]},
     with: {command: [x]}}
  - {name: tell, kind: noop, owner: dev, depends: "test.Failed || source.Errored"}
  - {name: odd, kind: noop, owner: dev, depends: "!test.Succeeded"}
  - {name: ship, kind: ansible, owner: ops, needs: [test], environment: staging, gate: ops,
     when: "run.branch == 'main'"}
on_exit:
  - {name: clean, kind: noop, owner: dev}
"""


def compiled(text: str = FILE) -> list[dict]:
    result = parse(text)
    assert result.definition, result.problems
    return documents(result.definition, namespace="burger", portal="http://portal", image="runner")


@pytest.fixture(scope="module")
def made() -> list[dict]:
    return compiled()


def tasks(workflow: dict, dag: str = "main") -> dict[str, dict]:
    template = next(one for one in workflow["spec"]["templates"] if one["name"] == dag)
    return {task["name"]: task for task in template["dag"]["tasks"]}


def test_equal_files_give_equal_bytes(made):
    assert json.dumps(made) == json.dumps(compiled())


def test_needs_and_conditions_are_said_in_argos_words(made):
    found = tasks(made[-1])
    ended = "(test.Succeeded || test.Failed || test.Errored || test.Skipped || test.Omitted)"
    assert found["test"]["depends"] == "source"
    assert found["tell"]["depends"] == "((test.Failed || test.Errored) || (source.Failed || source.Errored))"
    assert found["odd"]["depends"] == ended, "what Argo would judge otherwise is left to the portal"
    assert found["ship"]["when"] == "'{{workflow.parameters.run-branch}}' == 'main'"
    assert list(tasks(made[-1], "exit")) == ["clean"]
    assert made[-1]["spec"]["onExit"] == "exit"


def test_a_matrix_is_a_fan_of_one_task(made):
    assert tasks(made[-1])["test"]["withItems"] == ["test[3.11]", "test[3.12]"]


def test_a_gate_is_a_plan_a_door_and_the_work(made):
    name = tasks(made[-1])["ship"]["templateRef"]["name"]
    spec = next(one for one in made if one["metadata"]["name"] == name)["spec"]
    by_name = {one["name"]: one for one in spec["templates"]}
    assert [step[0]["name"] for step in by_name["stage"]["steps"]] == ["plan", "door", "work"]
    assert "suspend" in by_name["door"]
    assert by_name["work"]["synchronization"] == {"mutexes": [{"name": "shop.staging"}]}
    assert {by_name[one]["serviceAccountName"] for one in ("plan", "work")} == {"burger-ops"}


def test_a_stage_runs_as_its_team_with_its_retries_and_its_time(made):
    shapes = {one["metadata"]["annotations"]["burger-stack/owner"]: one for one in made[:-1]}
    assert set(shapes) == {"dev", "ops"}
    by_kind = {one["metadata"]["name"].split("-")[1]: one["spec"]["templates"][0] for one in made[:-1]}
    assert by_kind["source"]["retryStrategy"]["limit"] == "5"
    assert by_kind["source"]["retryStrategy"]["backoff"]["duration"] == "2"
    assert by_kind["command"]["activeDeadlineSeconds"] == 960
    assert by_kind["command"]["serviceAccountName"] == "burger-dev"


def test_templates_are_named_by_what_they_hold(made):
    names = [one["metadata"]["name"] for one in made[:-1]]
    assert len(names) == len(set(names)) == 4, "the noops share one"
    other = compiled(FILE.replace("limit: 2", "limit: 3"))
    assert len(set(names) & {one["metadata"]["name"] for one in other}) == 3


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("parameters.fast == 'yes'", "'{{workflow.parameters.p-fast}}' == 'yes'"),
        ("!(run.tag != '')", "! ( '{{workflow.parameters.run-tag}}' != '' )"),
        ("parameters.fast", ""),
        ("stages.a.state == 'failed'", ""),
        ("parameters.a in ['x']", ""),
    ],
)
def test_conditions_that_argo_cannot_judge_are_left_to_the_portal(condition, said):
    assert when_of(condition, {}) == said


@pytest.mark.parametrize("value", ["it's", 'a "b"', "back\\slash", "{{workflow.uid}}", "{{=1}}", "two\nlines"])
def test_a_value_that_would_change_a_condition_is_left_to_the_portal(value):
    assert when_of("parameters.wish != 'no'", {"p-wish": value}) == ""
    assert when_of("parameters.wish != 'no'", {"p-wish": "a plain wish, ü & <b>"}) != ""


def test_names_of_tasks_stay_apart():
    names = ["test[3.11]", "test[3-11]", "a" * 80, "a" * 81, "plain"]
    assert len({task_name(name) for name in names}) == 5
    assert task_name("plain") == "plain"
