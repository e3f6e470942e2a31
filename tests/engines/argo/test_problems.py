"""What is reported, each with its place, and the limits on what is read."""

from __future__ import annotations

import time

import pytest

from .helpers import HEAD, document, imported, problems, workflow

MAIN = "- name: main\n  dag:\n    tasks:\n"


def dag(*lines: str) -> str:
    return workflow(MAIN + "".join(f"    - {line}\n" for line in lines))


def steps(*lines: str) -> str:
    return workflow("- name: main\n  steps:\n" + "".join(f"  - - {line}\n" for line in lines))


WRONG = {
    "a template that is not there": (
        steps("{name: a, template: leef}"),
        'a.yaml:9:29: unknown template of Workflow demo "leef" (leaf)',
    ),
    "an entrypoint that is not there": (
        workflow("- {name: main, suspend: {}}", entrypoint="mian"),
        'a.yaml:5:15: unknown template of Workflow demo "mian" (main)',
    ),
    "no entrypoint": (
        document("spec: {templates: [{name: main, suspend: {}}]}\n"),
        'a.yaml:4:7: the workflow does not say where it begins (add "entrypoint")',
    ),
    "a key with a typing error": (
        dag("{name: a, template: leaf}", "{name: b, template: leaf, dependancies: [a]}"),
        'a.yaml:11:35: unknown key of a task "dependancies" (dependencies)',
    ),
    "a task that is not there": (
        dag("{name: a, template: leaf}", "{name: b, template: leaf, depends: a && ( c.Failed )}"),
        'a.yaml:11:51: unknown task "c" (use one of: a, b)',
    ),
    "the same in dependencies": (
        dag("{name: first, template: leaf}", "{name: b, template: leaf, dependencies: [frist]}"),
        'a.yaml:11:50: unknown task "frist" (first)',
    ),
    "an expression that ends too early": (
        dag("{name: a, template: leaf}", "{name: b, template: leaf, depends: a &&}"),
        "a.yaml:11:48: expected the name of a stage, found the end",
    ),
    "a result that Argo does not have": (
        dag("{name: a, template: leaf}", "{name: b, template: leaf, depends: a.Rejected}"),
        'a.yaml:11:44: Argo has no result "Rejected" (use one of: Succeeded, Failed, Errored, Skipped, Omitted, '
        "Daemoned, AnySucceeded, AllFailed)",
    ),
    "a result of a fan asked of one task": (
        dag("{name: a, template: leaf}", "{name: b, template: leaf, depends: a.AnySucceeded}"),
        'a.yaml:11:44: AnySucceeded is asked of "a", which runs once, not for each item (use Succeeded or Failed)',
    ),
    "tasks that wait for each other": (
        dag(
            "{name: z, template: leaf, dependencies: [a]}",
            "{name: a, template: leaf, dependencies: [b]}",
            "{name: b, template: leaf, dependencies: [a]}",
        ),
        "a.yaml:11:9: these tasks wait for each other: a → b → a",
    ),
    "both ways to depend": (
        dag(
            "{name: a, template: leaf}",
            "{name: b, template: leaf, depends: a}",
            "{name: c, template: leaf, dependencies: [a]}",
        ),
        "a.yaml:12:49: a dag uses either depends or dependencies, and this one has both (write depends everywhere)",
    ),
    "two of a name": (
        steps("{name: a, template: leaf}", "{name: a, template: leaf}"),
        'a.yaml:10:16: there are two of the name "a", the first in line 9',
    ),
    "two templates of a name": (
        workflow("- {name: main, suspend: {}}\n- {name: main, suspend: {}}"),
        'a.yaml:8:12: there are two templates "main", the first in line 7',
    ),
    "a template that does nothing": (
        workflow("- {name: main}"),
        'a.yaml:7:5: the template "main" does nothing (give it one of: container, containerSet, steps, script, '
        "resource, dag, suspend, data, http, plugin)",
    ),
    "a template that does two things": (
        workflow("- {name: main, suspend: {}, container: {image: x}}"),
        "a.yaml:7:27: a template does one thing, and this one has container and suspend (make two templates of it)",
    ),
    "a document that was not given": (
        steps("{name: a, templateRef: {name: library, template: t}}"),
        'a.yaml:9:39: there is no WorkflowTemplate "library" among the files (give the file that holds it, or a '
        "cluster that has it: kubectl get workflowtemplate library -o yaml)",
    ),
    "an input that is not passed": (
        workflow(
            "- name: main\n  steps:\n  - - {name: a, template: asks}\n"
            "- {name: asks, inputs: {parameters: [{name: x}, {name: y, default: 1}]}, suspend: {}}\n"
        ),
        'a.yaml:9:9: the template "asks" needs the parameter "x", which is not passed (add it to parameters of '
        "arguments)",
    ),
    "a result that is asked for too early": (
        dag(
            "{name: a, template: leaf}",
            '{name: b, template: leaf, when: "{{tasks.a.outputs.result}} == 1"}',
        ),
        'a.yaml:11:50: this asks for what the task "a" gives, which does not run before (let it depend on a)',
    ),
    "a result of nothing": (
        steps("{name: a, template: leaf}", '{name: b, template: leaf, withParam: "{{steps.aa.outputs.result}}"}'),
        'a.yaml:10:55: unknown step "aa" (a)',
    ),
    "an input of the entrypoint that nobody gives": (
        workflow("- {name: main, inputs: {parameters: [{name: x}]}, suspend: {}}"),
        'a.yaml:5:15: the template "main" needs the parameter "x", which is not passed (add it to parameters of the '
        "workflow's arguments)",
    ),
    "an input that the template does not have": (
        workflow("- {name: main, container: {image: '{{inputs.parameters.imag}}'}, "
                 "inputs: {parameters: [{name: image}]}}"),
        'a.yaml:7:58: unknown input parameter "imag" (image)',
    ),
    "a parameter that the workflow does not have": (
        workflow("- {name: main, container: {image: '{{workflow.parameters.image}}'}}"),
        'a.yaml:7:60: unknown parameter of the workflow "image" (the file has no parameter of the workflow)',
    ),
    "a result of nothing that a hook asks for": (
        steps("{name: a, template: leaf, onExit: leaf}", "{name: b, template: leaf, hooks: {exit: {template: leaf, "
              "arguments: {parameters: [{name: p, value: '{{steps.bb.status}}'}]}}}}"),
        'a.yaml:10:117: unknown step "bb" (b)',
    ),
    "a hook that does not say when": (
        steps("{name: a, template: leaf, hooks: {late: {template: leaf}}}"),
        'a.yaml:9:49: the hook "late" does not say when it runs; only exit runs by itself (add "expression")',
    ),
    "a sequence without an end": (
        steps("{name: a, template: leaf, withSequence: {start: 1}}"),
        "a.yaml:9:49: this withSequence has neither count nor end (give one of them)",
    ),
    "two fans": (
        steps("{name: a, template: leaf, withItems: [1], withParam: '[1]'}"),
        "a.yaml:9:62: it has withItems and withParam (keep one of them)",
    ),
    "steps that are no list of lists": (
        workflow("- name: main\n  steps:\n  - {name: a, template: leaf}\n"),
        "a.yaml:9:7: expected a list, found a mapping",
    ),
    "a schedule that never comes": (
        document("spec: {schedule: '99 * * * *', workflowSpec: {entrypoint: m}}\n", "CronWorkflow"),
        'a.yaml:4:18: the schedule "99 * * * *"',
    ),
    "a kind with a typing error": (
        document("spec: {}\n", "WorkFlow"),
        'a.yaml:2:7: unknown kind "WorkFlow" (Workflow)',
    ),
    "another kind": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
        "a.yaml:2:1: nothing here can be drawn: ConfigMap c is no part of a workflow",
    ),
    "no YAML": ("a: [1, 2\n", "a.yaml:2:1: this is not valid YAML"),
    "nothing": ("# nothing\n", "a.yaml:1:1: the file is empty"),
    "a template of Helm": (
        document("spec: {entrypoint: {{ .Values.entry }}}\n"),
        "a.yaml:4:21: a key has to be text, and here it is a mapping",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_problem_names_its_place(name):
    text, expected = WRONG[name]
    found = problems(text)
    assert any(one.startswith(expected) for one in found), found


def test_a_library_that_is_given_twice():
    library = document("spec: {templates: [{name: a, suspend: {}}]}\n", "WorkflowTemplate", "lib")
    assert problems(library, library) == [
        "b.yaml:3:11: there are two of WorkflowTemplate lib, the first in a.yaml:1 (give one of them)"
    ]


def test_problems_in_templates_that_nothing_calls_are_found_too():
    assert problems(workflow("- {name: main, suspend: {}}\n- name: idle\n  steps: [[{name: a, template: no}]]"))


def test_a_graph_is_drawn_as_far_as_it_goes():
    found = imported(dag("{name: a, template: gone}", "{name: b, template: leaf, depends: a}"))
    assert [task.path for task in found.graphs[0].tasks] == ["main", "main/a", "main/b"]
    assert found.graphs[0].tasks[1].unknown == ["What it does: the template gone was not given."]


def test_a_report_is_what_lint_prints():
    assert imported(steps("{name: a, template: leef}")).report() == (
        'a.yaml:9:29: unknown template of Workflow demo "leef" (did you mean "leaf"?)\n'
        "        - - {name: a, template: leef}\n"
        "                                ^\n"
    )


# --- limits -----------------------------------------------------------------------------------------------

LAUGHS = "".join(
    f"- name: t{n}\n  steps: [[{{name: a, template: t{n + 1}}}, {{name: b, template: t{n + 1}}}]]\n" for n in range(40)
)
DEEP = "".join(f"- name: t{n}\n  steps: [[{{name: a, template: t{n + 1}}}]]\n" for n in range(80))
WIDE = "- name: t0\n  steps:\n" + "".join(
    "  - [" + ", ".join(f"{{name: a{g}-{n}, template: leaf}}" for n in range(300)) + "]\n" for g in range(2)
)
CHAIN = "- name: t0\n  dag:\n    tasks:\n" + "".join(
    f"    - {{name: a{n}, template: leaf, depends: a{n + 1}}}\n" for n in range(9000)
)
ALIASES = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
LIMITS = {
    "templates that call others twice": (
        workflow(LAUGHS + "- {name: t40, suspend: {}}", entrypoint="t0"),
        "more than 2,000 tasks",
    ),
    "templates that call each other": (
        workflow(DEEP + "- {name: t80, suspend: {}}", entrypoint="t0"),
        "more than 50 deep",
    ),
    "groups of many steps": (workflow(WIDE, entrypoint="t0"), "more than 20,000 lines"),
    "a dag of many tasks": (workflow(CHAIN, entrypoint="t0"), "9,000 tasks are too many"),
    "aliases of aliases": (ALIASES, "more than 250,000 values"),
    "deep values": ("a: " + "[" * 2000 + "]" * 2000, "nested more than 40 deep"),
    "a large file": ("a: " + "x" * 2**20, "larger than 1 MiB"),
    "many brackets": (dag("{name: a, template: leaf, depends: '" + "(" * 30_000 + "b'}"), "nested more than 50 deep"),
    "a name as long as a book": (steps("{name: " + "n" * 100_000 + ", template: leaf}"), "at most 253 characters"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_too_large_is_refused_with_its_place(name):
    text, said = LIMITS[name]
    begun = time.monotonic()
    found = problems(text)
    assert any(said in one for one in found), found[:3]
    # On a machine of its own each takes well under a second; what this guards against takes minutes.
    assert time.monotonic() - begun < 20


def test_braces_without_end_take_no_time():
    begun = time.monotonic()
    imported(steps("{name: a, template: leaf, when: '" + "{{=" * 100_000 + "'}"))
    assert time.monotonic() - begun < 10


def test_many_workflows_of_one_large_library_are_too_many():
    library = document(
        "spec:\n  templates:\n  - {name: leaf, suspend: {}}\n  - name: all\n    steps:\n"
        + "".join(f"    - - {{name: a{n}, template: leaf}}\n" for n in range(1500)),
        "WorkflowTemplate",
        "library",
    )
    callers = "---\n".join(
        HEAD.format(kind="Workflow", name=f"w{n}") + "spec: {entrypoint: all, workflowTemplateRef: {name: library}}\n"
        for n in range(20)
    )
    found = problems(callers, library)
    assert "more than 10,000 tasks were drawn before this" in found[0]
