"""Workflows as pipeline files."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from pipelines.definition.parse import parse
from pipelines.engines.argo.chosen import AdoptError
from pipelines.engines.argo.convert import Converted, Wish, convert_files
from pipelines.engines.argo.reading import Source

from .helpers import LEAF, document, workflow

WISH = Wish("ci", "flows/main.yaml", "dev")


def converted(text: str, owners: str = "", wish: Wish = WISH) -> Converted:
    given = Source("owners.yaml", owners.encode()) if owners else None
    source = Source("flows/main.yaml", textwrap.dedent(text).encode())
    found = convert_files([source], wish, owners=given, teams={"dev", "ops"})
    result = parse(found.text.encode(), teams={"dev", "ops"})
    assert result.definition is not None, (result.problems, found.text)
    return found


def stages(found: Converted) -> dict[str, dict]:
    file = yaml.safe_load(found.text)
    return {one["name"]: one for one in [*file["stages"], *file.get("on_exit", [])]}


def test_tasks_become_stages_in_the_same_order():
    found = converted(
        workflow(
            """
            - name: main
              dag:
                tasks:
                - {name: test, template: leaf, depends: build}
                - {name: build, template: leaf}
                - {name: tell, template: leaf, depends: "test.Failed || build.Errored"}
            """
        )
    )
    assert stages(found)["build"]["with"] == {"place": "ci", "file": "flows/main.yaml", "task": "main/build"}
    assert list(stages(found)) == ["checkout", "build", "test", "tell"]
    assert stages(found)["build"]["needs"] == ["checkout"]
    assert stages(found)["test"]["needs"] == ["build"]
    assert stages(found)["tell"]["depends"] == "test.Failed || build.Errored"


def test_groups_of_steps_wait_for_each_other_and_what_may_fail_says_so():
    found = converted(
        workflow(
            """
            - name: main
              steps:
              - - {name: a, template: leaf, continueOn: {failed: true}}
                - {name: b, template: leaf}
              - - {name: c, template: leaf}
            """
        )
    )
    assert stages(found)["c"]["depends"] == "(a || a.Failed) && b"


def test_what_waits_for_a_person_is_a_gate_and_ownership_comes_along():
    owners = (
        "default: dev\nowners: [{team: ops, task: main/ask}]\ngates: [{before: main/go, gate: {teams: {ops: 2}}}]\n"
    )
    found = converted(
        workflow(
            """
            - name: main
              steps:
              - - {name: ask, template: wait}
              - - {name: go, template: leaf}
            - {name: wait, suspend: {}}
            """
        ),
        owners,
    )
    assert stages(found)["ask"] == {
        "name": "ask", "kind": "gate", "owner": "ops", "needs": ["checkout"], "gate": "ops",
    }  # fmt: skip
    assert stages(found)["go"]["gate"] == {"teams": {"ops": 2}}


def test_values_that_a_suspend_asks_for_and_a_later_task_takes_keep_all_of_it_together():
    asks = workflow(
        """
        - name: main
          steps:
          - - {name: ask, template: wait}
          - - name: go
              template: leaf
              when: "{{steps.ask.outputs.parameters.answer}} == yes"
        - name: wait
          suspend: {}
          outputs: {parameters: [{name: answer, valueFrom: {supplied: {}}}]}
        """
    )
    found = converted(asks)
    assert list(stages(found)) == ["checkout", "main"]
    assert any("go takes outputs.parameters.answer of ask, a gate, which has no values" in one for one in found.lost)
    assert any(one.startswith("main/ask waits within the stage until somebody resumes it") for one in found.lost)


GIVES = """
        - name: give
          container: {image: busybox}
          outputs: {parameters: [{name: said, globalName: answer, valueFrom: {path: /tmp/said}}]}
        - name: take
          inputs: {parameters: [{name: what, value: "{{workflow.outputs.parameters.answer}}"}]}
          container: {image: busybox}
"""


def test_outputs_of_the_whole_workflow_keep_giver_and_taker_together():
    apart = workflow(
        f"""
        - name: main
          steps:
          - - {{name: first, template: give}}
          - - {{name: second, template: inner}}
        - name: inner
          dag: {{tasks: [{{name: deep, template: take}}]}}
        {GIVES.strip()}
        """
    )
    found = converted(apart)
    assert list(stages(found)) == ["checkout", "main"]
    assert any("second takes answer of the Workflow's outputs" in one for one in found.lost)


def test_a_hook_of_a_task_that_takes_an_output_of_the_whole_workflow_keeps_all_of_it_together():
    hooked = workflow(
        f"""
        - name: main
          steps:
          - - {{name: first, template: give}}
          - - {{name: second, template: leaf, onExit: take}}
        {GIVES.strip()}
        """
    )
    assert list(stages(converted(hooked))) == ["checkout", "main"]


def test_an_exit_handler_that_takes_an_output_of_the_whole_workflow_stays_with_it():
    asks = workflow(
        f"""
        - name: main
          steps: [[{{name: first, template: give}}]]
        {GIVES.strip()}
        """,
        spec="onExit: take\n",
    )
    found = converted(asks)
    assert list(stages(found)) == ["checkout", "main"]
    assert any("exit takes answer" in one for one in found.lost)


def test_outputs_of_the_whole_workflow_that_one_task_gives_and_takes_hold_nothing_together():
    alone = workflow(
        f"""
        - name: main
          steps:
          - - {{name: other, template: leaf}}
          - - {{name: both, template: inner}}
        - name: inner
          steps:
          - - {{name: first, template: give}}
          - - {{name: second, template: take}}
        {GIVES.strip()}
        """
    )
    assert list(stages(converted(alone))) == ["checkout", "other", "both"]


def test_parameters_schedules_and_exit_handlers():
    body = """
        spec:
          schedule: "5 4 * * *"
          timezone: Europe/Berlin
          concurrencyPolicy: Forbid
          workflowSpec:
            entrypoint: main
            onExit: leaf
            activeDeadlineSeconds: 60
            arguments: {parameters: [{name: who, value: world, enum: [world, moon]}]}
            templates:
            - name: main
              dag: {tasks: [{name: a, template: leaf}]}
        """
    text = document(body, kind="CronWorkflow") + textwrap.indent(LEAF, "  ")
    found = converted(text)
    file = yaml.safe_load(found.text)
    assert file["on"] == {"schedule": ["5 4 * * *"]}
    assert file["parameters"] == {"who": {"default": "world", "choices": ["world", "moon"]}}
    assert stages(found)["a"]["with"]["arguments"] == {"who": "{{parameters.who}}"}
    assert stages(found)["exit-leaf"]["with"]["template"] == "leaf"
    assert stages(found)["exit-leaf"]["needs"] == ["checkout"], "its file is in there"
    said = " ".join(found.lost)
    for word in ("Europe/Berlin", "concurrencyPolicy", "activeDeadlineSeconds (line "):
        assert word in said


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ("{name: a, template: leaf, arguments: {artifacts: [{name: f, from: '{{tasks.b.outputs.artifacts.f}}'}]}, "
         "dependencies: [b]}", "handed files"),
        ("{name: a, template: leaf, when: \"{{=1 == 1}}\"}", "expression"),
        ("{name: a, template: leaf, when: \"{{workflow.status}} == x\"}", "workflow.status"),
        ("{name: a, template: quiet}", "daemon"),
        ("{name: a, template: leaf, depends: b.Daemoned}", "b.Daemoned"),
        ("{name: checkout, template: leaf}", "no stage's name"),
    ],
)  # fmt: skip
def test_what_only_one_workflow_can_do_is_one_stage(tasks, why):
    text = workflow(
        f"- name: main\n  dag:\n    tasks:\n    - {{name: b, template: gives}}\n    - {tasks}\n"
        "- {name: quiet, daemon: true, container: {image: busybox}}\n"
        "- {name: gives, container: {image: busybox}, outputs: {artifacts: [{name: f, path: /f}]}}\n"
    )
    found = converted(text)
    assert list(stages(found)) == ["checkout", "main"]
    assert "task" not in stages(found)["main"]["with"]
    assert why in found.lost[0]
    assert "(line " in found.lost[0]


def test_what_is_said_of_one_stage():
    found = converted(
        workflow(
            """
            - name: main
              dag:
                tasks:
                - {name: each, template: leaf, withItems: [1, 2], when: "x == x"}
                - {name: deep, template: inner}
            - name: inner
              steps: [[{name: x, template: leaf}]]
            """
        )
    )
    said = " ".join(found.lost)
    assert "main/each is one stage for all its items" in said
    assert "succeeds when Argo skips its task (x == x)" in said
    assert "main/deep is one stage with all that is inside of inner" in said


def test_without_an_owner_it_is_refused():
    with pytest.raises(AdoptError, match="--owner"):
        converted(workflow("- {name: main, steps: [[{name: a, template: leaf}]]}"), wish=Wish("ci", "x.yaml"))
