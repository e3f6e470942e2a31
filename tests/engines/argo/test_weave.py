"""Gates in Workflows that have none."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from pipelines.engines.argo.adopt import Adopted, AdoptError, adopt
from pipelines.engines.argo.importing import import_files
from pipelines.engines.argo.reading import Source

from .helpers import document, workflow

OWNERS = "default: dev\n"
DAG = """
- name: main
  dag:
    tasks:
    - {name: build, template: leaf}
    - {name: rollout, template: shop, dependencies: [build], when: "'{{tasks.build.status}}' == 'Succeeded'",
       arguments: {parameters: [{name: where, value: "{{workflow.name}}"}]}}
    - {name: tell, template: leaf, dependencies: [rollout]}
- name: shop
  inputs: {parameters: [{name: where}]}
  dag:
    tasks:
    - {name: north, template: leaf}
    - {name: south, template: leaf, dependencies: [north]}
"""


def adopted(*texts: str, owners: str, teams: tuple[str, ...] = ("dev", "ops", "platform"), **options: str) -> Adopted:
    sources = [Source(f"{chr(97 + n)}.yaml", textwrap.dedent(text).encode()) for n, text in enumerate(texts)]
    return adopt(sources, Source("owners.yaml", owners.encode()), teams=teams, **options)


def gates(*before: str) -> str:
    return OWNERS + "gates:\n" + "".join(f"  - {{before: {path}, gate: ops}}\n" for path in before)


def template(found: Adopted, name: str) -> dict:
    (one,) = [one for one in found.woven.after["spec"]["templates"] if one["name"] == name]
    return one


def stages(found: Adopted) -> dict[str, tuple[str, ...]]:
    return {stage.name: stage.needs for stage in found.stages}


def has_no_problems(found: Adopted) -> None:
    again = import_files([Source("woven.yaml", found.text.encode())])
    assert not again.problems, again.report()


def test_without_gates_nothing_changes():
    found = adopted(workflow(DAG), owners=OWNERS)
    assert found.woven.diff == ""
    assert found.woven.after["spec"]["templates"] == yaml.safe_load(workflow(DAG))["spec"]["templates"]
    assert stages(found) == {
        "build": (), "rollout.north": ("build",), "rollout.south": ("rollout.north",), "tell": ("rollout.south",),
    }  # fmt: skip


def test_a_gate_in_a_dag_takes_the_place_before_its_task():
    found = adopted(workflow(DAG), owners=gates("main/rollout"))
    build, gate, rollout, tell = template(found, "main")["dag"]["tasks"]
    assert gate == {
        "name": "burger-gate-rollout",
        "template": "burger-gate-rollout",
        "arguments": {
            "parameters": [{"name": "burger-asks", "value": "ops"}, {"name": "where", "value": "{{workflow.name}}"}]
        },
        "when": "'{{tasks.build.status}}' == 'Succeeded'",
        "dependencies": ["build"],
    }
    assert rollout["dependencies"] == ["burger-gate-rollout"]
    assert rollout["when"] == gate["when"]
    assert (build["name"], tell["dependencies"]) == ("build", ["rollout"])
    assert template(found, "burger-gate-rollout")["suspend"] == {}
    assert stages(found)["before-rollout"] == ("build",)
    assert stages(found)["rollout.north"] == ("before-rollout",)
    has_no_problems(found)


def test_the_diff_says_what_is_added_and_nothing_else():
    diff = adopted(workflow(DAG), owners=gates("main/rollout")).woven.diff
    removed = [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert [line[1:].strip() for line in removed] == ["dependencies:", "- build"]
    assert "+      - name: burger-gate-rollout" in diff


def test_logic_is_moved_to_the_gate():
    body = DAG.replace("dependencies: [build], when", 'depends: "build.Succeeded || build.Failed", when').replace(
        "dependencies: [rollout]", "depends: rollout"
    )
    body = body.replace("dependencies: [north]", "depends: north")
    found = adopted(workflow(body), owners=gates("main/rollout"))
    _, gate, rollout, _ = template(found, "main")["dag"]["tasks"]
    assert gate["depends"] == "build.Succeeded || build.Failed"
    assert rollout["depends"] == "burger-gate-rollout"
    assert "dependencies" not in rollout
    has_no_problems(found)


def test_a_gate_in_steps_is_a_group_and_says_who_else_waits():
    body = """
    - name: main
      steps:
      - - {name: build, template: leaf}
      - - {name: rollout, template: leaf}
        - {name: measure, template: leaf}
    """
    found = adopted(workflow(body), owners=gates("main/rollout"))
    assert [[one["name"] for one in group] for group in template(found, "main")["steps"]] == [
        ["build"], ["burger-gate-rollout"], ["rollout", "measure"],
    ]  # fmt: skip
    assert found.woven.notes == ("measure of the same group of steps waits for the gate of main/rollout.",)
    has_no_problems(found)


def test_a_template_called_twice_is_copied_for_the_one_that_has_a_gate():
    body = """
    - name: main
      dag:
        tasks:
        - {name: a, template: shop}
        - {name: b, template: shop}
    - name: shop
      steps:
      - - {name: go, template: leaf}
    """
    found = adopted(workflow(body), owners=gates("main/b/go"))
    calls = {one["name"]: one["template"] for one in template(found, "main")["dag"]["tasks"]}
    assert calls == {"a": "shop", "b": "shop-gated"}
    assert len(template(found, "shop")["steps"]) == 1
    assert len(template(found, "shop-gated")["steps"]) == 2
    assert stages(found) == {"a.go": (), "b.before-go": (), "b.go": ("b.before-go",)}
    both = adopted(workflow(body), owners=gates("main/*/go"))
    assert {one["template"] for one in template(both, "main")["dag"]["tasks"]} == {"shop-gated"}
    has_no_problems(found)


def test_a_template_of_another_document_is_copied_in_and_still_finds_its_own():
    main = """
    - name: main
      dag:
        tasks:
        - {name: ship, templateRef: {name: library, template: ship}}
    """
    library = document(
        """
        spec:
          templates:
          - name: ship
            steps:
            - - {name: pack, template: box}
            - - {name: send, template: box}
          - {name: box, container: {image: busybox}}
        """,
        kind="WorkflowTemplate",
        name="library",
    )
    found = adopted(workflow(main), library, owners=gates("main/ship/send"))
    copy = template(found, "ship-gated")
    assert [one["templateRef"] for group in copy["steps"] for one in group if "templateRef" in one] == [
        {"name": "library", "template": "box"}, {"name": "library", "template": "box"},
    ]  # fmt: skip
    assert [stage.name for stage in found.stages] == ["ship.pack", "ship.before-send", "ship.send"]


def test_each_turn_of_a_recursion_asks():
    body = """
    - name: main
      steps:
      - - {name: flip, template: leaf}
      - - {name: again, template: main}
    """
    found = adopted(workflow(body), owners=gates("main/flip"))
    assert [[one["name"] for one in group] for group in template(found, "main")["steps"]] == [
        ["burger-gate-flip"], ["flip"], ["again"],
    ]  # fmt: skip
    twice = """
    - name: main
      steps:
      - - {name: one, template: loop}
      - - {name: two, template: loop}
    - name: loop
      steps:
      - - {name: flip, template: leaf}
      - - {name: again, template: loop}
    """
    found = adopted(workflow(twice), owners=gates("main/two/flip"))
    assert template(found, "loop-gated")["steps"][-1][0]["template"] == "loop-gated"
    assert template(found, "loop")["steps"][-1][0]["template"] == "loop"


def test_the_whole_workflow_can_have_a_gate():
    spec = "arguments: {parameters: [{name: who, value: x}]}\n"
    body = "- {name: main, inputs: {parameters: [{name: who}]}, container: {image: busybox}}\n"
    found = adopted(workflow(body, spec=spec), owners=gates("main"))
    assert found.woven.after["spec"]["entrypoint"] == "burger-entrypoint"
    assert template(found, "burger-entrypoint")["steps"][1][0]["arguments"] == {
        "parameters": [{"name": "who", "value": "{{workflow.parameters.who}}"}]
    }
    assert stages(found) == {"before-main": (), "main": ("before-main",)}
    has_no_problems(found)


def test_a_fan_asks_once_for_all_its_items():
    body = """
    - name: main
      dag:
        tasks:
        - {name: each, template: one, withItems: [a, b], when: "'{{item}}' != ''",
           arguments: {parameters: [{name: what, value: "{{item}}"}]}}
    - {name: one, inputs: {parameters: [{name: what}]}, container: {image: busybox}}
    """
    found = adopted(workflow(body), owners=gates("main/each"))
    gate, each = template(found, "main")["dag"]["tasks"]
    assert [one["name"] for one in gate["arguments"]["parameters"]] == ["burger-asks"]
    assert "when" not in gate
    assert each["withItems"] == ["a", "b"]
    assert "asks even if no item" in found.woven.notes[0]


def test_a_workflow_template_is_written_out():
    flow = document("spec:\n  workflowTemplateRef: {name: lib}\n  arguments: {parameters: [{name: a, value: mine}]}\n")
    lent = document(
        """
        spec:
          entrypoint: main
          arguments: {parameters: [{name: a, value: theirs}, {name: b, value: theirs}]}
          templates:
          - name: main
            steps: [[{name: go, template: leaf}]]
          - {name: leaf, container: {image: busybox}}
        """,
        kind="WorkflowTemplate",
        name="lib",
    )
    found = adopted(flow, lent, owners=gates("main/go"))
    spec = found.woven.after["spec"]
    assert "workflowTemplateRef" not in spec
    given = {one["name"]: one["value"] for one in spec["arguments"]["parameters"]}
    assert given == {"a": "mine", "b": "theirs"}
    assert "written out" in found.woven.notes[0]
    has_no_problems(found)


def test_its_own_suspend_templates_are_gates_of_their_owner():
    body = """
    - name: main
      steps:
      - - {name: look, template: wait}
      - - {name: nap, template: sleep}
    - {name: wait, suspend: {}}
    - {name: sleep, suspend: {duration: "20"}}
    """
    found = adopted(workflow(body), owners="default: dev\nowners: [{team: ops, task: main/look}]\n")
    look, nap = found.stages
    assert (look.kind, look.owner, look.gate.teams[0].team) == ("gate", "ops", "ops")
    assert nap.gate is None


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ("default: nobody\n", "1 problem"),
        (gates("main/nothing"), "1 problem"),
        ("owners: []\n", "1 problem"),
    ],
)
def test_what_is_wrong_is_refused_as_a_whole(owners, message):
    with pytest.raises(AdoptError, match=message) as caught:
        adopted(workflow(DAG), owners=owners)
    assert "owners.yaml:" in caught.value.report


def test_several_workflows_need_a_name():
    texts = workflow(DAG), workflow(DAG).replace("name: demo", "name: other")
    with pytest.raises(AdoptError, match=r"more than one workflow .* Workflow demo, Workflow other"):
        adopted(*texts, owners=OWNERS)
    assert adopted(*texts, owners=OWNERS, document="other").title == "Workflow other"
