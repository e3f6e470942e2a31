"""The ownership file: whose each task is, and who is asked before what."""

from __future__ import annotations

import time

import pytest

from pipelines.definition.model import Gate, GateTeam
from pipelines.engines.argo.importing import Imported, import_files
from pipelines.engines.argo.reading import Source

from .helpers import document, workflow

TEAMS = {"dev", "ops", "platform"}
FLOW = workflow(
    """
    - name: main
      dag:
        tasks:
        - {name: build, template: leaf}
        - {name: rollout, template: steps, depends: build}
        - {name: notify, templateRef: {name: library, template: mail}, depends: rollout}
    - name: steps
      steps: [[{name: north, template: leaf}], [{name: south, templateRef: {name: library, template: apply}}]]
    """,
    spec="onExit: leaf\n",
)
LIBRARY = document(
    "spec: {templates: [{name: mail, suspend: {}}, {name: apply, suspend: {}}]}\n", "WorkflowTemplate", "library"
)


def owned(rules: str, *, flow: str = FLOW) -> Imported:
    sources = [Source("flow.yaml", flow.encode()), Source("library.yaml", LIBRARY.encode())]
    return import_files(sources, owners=Source("owners.yaml", rules.encode()), teams=TEAMS)


def teams(rules: str) -> dict[str, str]:
    found = owned(rules)
    assert not found.problems, found.report()
    return {task.path: found.assigned[0].teams[task.position] for task in found.graphs[0].tasks}


def test_an_entry_covers_what_is_inside_and_the_last_one_counts():
    found = teams(
        """
        default: dev
        owners:
          - {team: ops, task: main/rollout}
          - {team: platform, template: "library/*"}
          - {team: dev, template: library/mail}
        """
    )
    assert found == {
        "main": "dev", "main/build": "dev", "main/rollout": "ops", "main/rollout/north": "ops",
        "main/rollout/south": "platform", "main/notify": "dev", "exit": "dev",
    }  # fmt: skip


def test_stars_stand_for_one_name_or_for_many():
    found = teams("default: dev\nowners: [{team: ops, task: 'main/**'}, {team: platform, task: '*/b*'}]\n")
    assert found["main"] == found["main/rollout/north"] == "ops"
    assert found["main/build"] == "platform"
    assert found["exit"] == "dev"
    deep = teams("default: dev\nowners: [{team: ops, task: '**/north'}]\n")
    assert [path for path, team in deep.items() if team == "ops"] == ["main/rollout/north"]


def test_an_entry_may_be_for_some_workflows_alone():
    found = owned("default: dev\nowners: [{team: ops, template: '**', workflow: 'dem*'}]\n")
    assert not found.problems, found.report()
    assert set(found.assigned[0].teams.values()) == {"ops"}
    assert set(found.assigned[1].teams.values()) == {"dev"}


def test_gates_stand_before_tasks():
    found = owned("default: dev\ngates: [{before: main/rollout, gate: {teams: {ops: 2, dev: 1}, expires: 1h}}]\n")
    assert not found.problems, found.report()
    (position,) = [task.position for task in found.graphs[0].tasks if task.path == "main/rollout"]
    assert found.assigned[0].gates == {position: Gate((GateTeam("ops", 2), GateTeam("dev", 1)), expires=3600.0)}
    task = next(task for task in found.plain()["graphs"][0]["tasks"] if task["path"] == "main/rollout")
    assert (task["team"], task["gate"]) == ("dev", {"ops": 2, "dev": 1})


def said(rules: str) -> list[str]:
    return [f"{one.line}:{one.column}: {one.message} ({one.hint})" for one in owned(rules).problems["owners.yaml"]]


def test_what_is_wrong_has_a_place():
    assert said("default: devs\n") == ['1:10: unknown team "devs" (dev)']
    assert said("default: dev\nowners: [{team: opps, task: main}]\n") == ['2:17: unknown team "opps" (ops)']
    assert said("default: dev\nowners: [{team: ops, task: main/rolout}]\n") == [
        '2:28: no task matches "main/rolout" (main/rollout)'
    ]
    assert said("default: dev\nowners: [{team: ops, template: libary/mail}]\n") == [
        '2:32: no template matches "libary/mail" (library/mail)'
    ]
    assert "names templates or tasks, and this one has neither" in said("default: dev\nowners: [{team: ops}]\n")[0]
    assert said("default: dev\ngates: [{before: main, gate: {teams: {opss: 1}}}]\n") == [
        '2:39: unknown team "opss" (ops)'
    ]
    assert "unknown key of an ownership file" in said("defualt: dev\n")[0]


def test_a_task_that_nobody_owns_is_a_problem():
    found = said("owners: [{team: ops, task: 'main/**'}]\n")
    assert found == [
        "1:1: nobody owns exit in Workflow demo (add entries, or \"default: TEAM\")",
        "1:1: nobody owns mail, apply in WorkflowTemplate library (add entries, or \"default: TEAM\")",
    ]  # fmt: skip


def test_nobody_can_be_asked_before_what_the_controller_starts_by_itself():
    assert said("default: dev\ngates: [{before: exit, gate: ops}]\n") == [
        "2:18: exit runs at the end, however the others ended, so nobody can be asked before it (drop the gate)"
    ]


@pytest.mark.parametrize("stars", ["**/a*", "**/", "**/*/", "*a"])
def test_patterns_of_many_stars_take_no_time(stars):
    pattern = (stars * 300)[:290]
    rules = "default: dev\nowners:\n" + "".join(f"  - {{team: ops, task: '{pattern}x{n}'}}\n" for n in range(400))
    calls = [", ".join(f"{{name: s{m}, template: t{n + 1}}}" for m in range(10)) for n in range(3)]
    wide = "".join(f"- {{name: t{n}, steps: [[{one}]]}}\n" for n, one in enumerate(calls))
    flow = workflow(f"{wide}- {{name: t3, container: {{image: a}}}}\n", entrypoint="t0")
    began = time.process_time()
    assert len(owned(rules, flow=flow).problems["owners.yaml"]) == 400
    assert time.process_time() - began < 20
