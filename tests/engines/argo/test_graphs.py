"""What is drawn: the whole graph of a workflow, before it runs."""

from __future__ import annotations

from .helpers import document, drawn, imported, lines_of, tasks, workflow

DIAMOND = """
- name: main
  dag:
    tasks:
    - {name: A, template: leaf}
    - {name: B, template: leaf, dependencies: [A]}
    - {name: C, template: leaf, dependencies: [A]}
    - {name: D, template: leaf, dependencies: [B, C]}
"""


def test_a_dag_is_drawn_as_its_tasks_depend():
    graph = drawn(workflow(DIAMOND))
    assert lines_of(graph) == {
        ("main", "main/A"), ("main/A", "main/B"), ("main/A", "main/C"), ("main/B", "main/D"), ("main/C", "main/D"),
    }  # fmt: skip
    assert [task.does for task in graph.tasks] == ["dag", *["container"] * 4]
    assert [task.line for task in graph.tasks] == [5, 10, 11, 12, 13]


def test_tasks_stand_behind_what_they_need_however_the_file_orders_them():
    listed = DIAMOND.strip().splitlines()
    graph = drawn(workflow("\n".join([*listed[:3], *reversed(listed[3:])])))
    assert all(need < task.position for task in graph.tasks for need in task.needs)
    assert ("main/B", "main/D") in lines_of(graph)


def test_steps_run_group_by_group():
    graph = drawn(
        workflow("""
        - name: main
          steps:
          - - {name: one, template: leaf}
            - {name: two, template: leaf}
          - - {name: three, template: leaf}
        """)
    )
    assert lines_of(graph) == {
        ("main", "main/one"), ("main", "main/two"), ("main/one", "main/three"), ("main/two", "main/three"),
    }  # fmt: skip


def test_what_a_task_calls_stands_in_its_place():
    graph = drawn(
        workflow("""
        - name: main
          dag:
            tasks:
            - {name: A, template: inner}
            - {name: B, template: leaf, depends: A}
        - name: inner
          steps:
          - [{name: x, template: leaf}, {name: y, template: leaf}]
        """)
    )
    assert lines_of(graph) == {
        ("main", "main/A"), ("main/A", "main/A/x"), ("main/A", "main/A/y"),
        ("main/A/x", "main/B"), ("main/A/y", "main/B"),
    }  # fmt: skip
    inside = {task.path: graph.tasks[task.within].path for task in graph.tasks if task.within is not None}
    assert inside["main/A/x"] == "main/A"
    assert inside["main/B"] == "main"


def test_depends_is_shown_where_it_asks_for_more_than_success():
    found = tasks(
        workflow("""
        - name: main
          dag:
            tasks:
            - {name: A, template: leaf}
            - {name: B, template: leaf, depends: A.Failed || A.Errored}
            - {name: C, template: leaf, depends: A && B}
        """)
    )
    assert found["main/B"].condition == "A.Failed || A.Errored"
    assert found["main/C"].condition == ""
    assert len(found["main/C"].needs) == 2


def test_fans_have_a_width_where_the_file_says_it():
    found = tasks(
        workflow(
            """
            - name: main
              steps:
              - - {name: items, template: leaf, withItems: [1, {a: 1}, [2]]}
                - {name: none, template: leaf, withItems: []}
                - {name: count, template: leaf, withSequence: {count: "4"}}
                - {name: down, template: leaf, withSequence: {start: "5", end: "3"}}
                - {name: given, template: leaf, withParam: "[1, 2]"}
                - {name: later, template: leaf, withParam: "{{workflow.parameters.list}}"}
              - - {name: last, template: leaf, withParam: "{{steps.items.outputs.result}}"}
                - {name: until, template: leaf, withSequence: {end: "{{steps.items.outputs.result}}"}}
            """,
            spec="arguments: {parameters: [{name: list, value: '[7, 8, 9]'}]}\n",
        )
    )
    widths = {path.removeprefix("main/"): task.fan.width for path, task in found.items() if task.fan}
    assert widths == {
        "items": 3, "none": 0, "count": 4, "down": 3, "given": 2, "later": None, "last": None, "until": None,
    }  # fmt: skip
    assert found["main/none"].never == "it runs once for each item, and there is none"
    assert found["main/later"].unknown == [
        "How often it runs: 3 with the value that the file gives to list; another may be given."
    ]
    assert "is known only once it runs" in found["main/last"].unknown[0]
    assert "its end {{steps.items.outputs.result}}" in found["main/until"].unknown[0]


def test_conditions_are_marked_as_unknown_and_what_never_runs_as_such():
    found = tasks(
        workflow("""
        - name: main
          steps:
          - - {name: a, template: leaf}
          - - {name: b, template: leaf, when: "{{steps.a.outputs.result}} == heads"}
            - {name: c, template: leaf, when: "false"}
        """)
    )
    assert found["main/b"].unknown == ["Whether it runs: only if {{steps.a.outputs.result}} == heads."]
    assert (found["main/c"].unknown, found["main/c"].never) == ([], "its condition is false")


def test_recursion_is_drawn_once_and_leads_back():
    graph = drawn(
        workflow("""
        - name: main
          steps:
          - - {name: first, template: again}
        - name: again
          steps:
          - - {name: work, template: leaf}
          - - {name: more, template: through, when: "{{steps.work.outputs.result}} != done"}
        - name: through
          dag: {tasks: [{name: back, template: again}]}
        """)
    )
    back = next(task for task in graph.tasks if task.loops_to is not None)
    assert (back.path, graph.tasks[back.loops_to].path) == ("main/first/more/back", "main/first")
    assert "How often it repeats" in back.unknown[-1]
    assert len(graph.tasks) == 5


def test_a_template_that_is_called_twice_is_no_recursion():
    found = tasks(workflow(DIAMOND.replace("B, template: leaf", "B, template: inner") + """
- name: inner
  steps:
  - - {name: x, template: other}
    - {name: y, template: other}
- name: other
  steps: [[{name: z, template: leaf}]]
"""))  # fmt: skip
    assert {"main/B/x/z", "main/B/y/z"} <= found.keys()
    assert not [task for task in found.values() if task.loops_to is not None]


def test_hooks_and_exit_handlers():
    graph = drawn(
        workflow(
            """
            - name: main
              steps:
              - - name: a
                  template: leaf
                  onExit: tidy
                  hooks: {running: {template: leaf, expression: steps.a.status == "Running"}}
              - - {name: b, template: leaf, hooks: {exit: {template: leaf}}}
            - name: tidy
              steps: [[{name: x, template: leaf}]]
            """,
            spec='onExit: leaf\nhooks: {late: {template: leaf, expression: workflow.status == "Failed"}}\n',
        )
    )
    found = {task.path: task for task in graph.tasks}
    assert {path: task.role for path, task in found.items() if task.role} == {
        "main/a:exit": "exit", "main/a:running": "hook", "main/b:exit": "exit", "exit": "exit", "late": "hook",
    }  # fmt: skip
    lines = lines_of(graph)
    assert {("main/a", "main/a:exit"), ("main/a", "main/a:running")} <= lines
    # What comes after a task waits for its exit handler, and for nothing else that hangs on it.
    assert {before for before, after in lines if after == "main/b"} == {"main/a:exit/x"}
    assert found["exit"].on_exit
    assert not found["exit"].needs
    assert found["late"].expression == 'workflow.status == "Failed"'


def test_daemons_suspends_retries_and_workflows_made_by_workflows():
    found = tasks(
        workflow("""
        - name: main
          steps:
          - - {name: d, template: daemon}
          - - {name: s, template: wait}
          - - {name: t, template: timed}
          - - {name: w, template: makes}
        - {name: daemon, daemon: true, container: {image: redis}}
        - {name: wait, suspend: {}}
        - {name: timed, suspend: {duration: 20s}, retryStrategy: {limit: 3}}
        - name: makes
          resource:
            action: create
            manifest: |
              kind: Workflow
              spec: {}
        """)
    )
    assert found["main/d"].daemon
    assert found["main/s"].suspend == "until somebody resumes it"
    assert (found["main/t"].suspend, found["main/t"].retries) == ("for 20s", "at most 3 times")
    assert found["main/w"].unknown == ["What is inside: it creates another workflow."]


LIBRARY = document(
    """
    spec:
      entrypoint: run
      onExit: tidy
      templates:
      - name: run
        steps: [[{name: x, template: tidy}]]
      - {name: tidy, container: {image: busybox}}
    """,
    "WorkflowTemplate",
    "library",
)


def test_templates_of_other_documents_are_found_among_the_files():
    caller = workflow("""
    - name: main
      steps:
      - - {name: a, templateRef: {name: library, template: run}}
      - - {name: b, templateRef: {name: everywhere, template: run, clusterScope: true}}
    """)
    everywhere = LIBRARY.replace("kind: WorkflowTemplate", "kind: ClusterWorkflowTemplate").replace(
        "name: library", "name: everywhere"
    )
    found = tasks(caller, LIBRARY + "---\n" + everywhere)
    assert found["main/a"].template == "library/run"
    assert found["main/a/x"].template == "library/tidy"
    assert (found["main/a/x"].file, found["main/a/x"].line) == ("b.yaml", 9)
    assert found["main/b/x"].template == "everywhere/tidy"


def test_a_workflow_may_be_made_of_another_documents_templates():
    caller = document("spec: {workflowTemplateRef: {name: library}}\n")
    found = tasks(caller, LIBRARY)
    assert {path: task.template for path, task in found.items()} == {
        "run": "library/run", "run/x": "library/tidy", "exit": "library/tidy",
    }  # fmt: skip
    assert (found["run"].file, found["run/x"].file) == ("a.yaml", "b.yaml")
    other = tasks(document("spec: {entrypoint: tidy, workflowTemplateRef: {name: library}}\n"), LIBRARY)
    assert list(other) == ["tidy", "exit"]


def test_a_namespace_keeps_templates_apart():
    caller = document("spec: {workflowTemplateRef: {name: library}}\n").replace(
        "{name: demo}", "{name: demo, namespace: n}"
    )
    assert imported(caller, LIBRARY.replace("{name: library}", "{name: library, namespace: other}")).problems
    assert not imported(caller, LIBRARY.replace("{name: library}", "{name: library, namespace: n}")).problems


def test_what_is_filled_in_later_is_marked():
    found = tasks(
        workflow(
            """
            - name: main
              steps:
              - - {name: a, templateRef: {name: library, template: "{{workflow.parameters.which}}"}}
            """,
            spec="arguments: {parameters: [{name: which}]}\n",
        )
    )
    assert found["main/a"].does == ""
    assert "is filled in later" in found["main/a"].unknown[0]


def test_a_dag_with_a_target_runs_only_what_that_needs():
    found = tasks(workflow(DIAMOND.replace("  dag:", "  dag:\n    target: B")))
    assert {path for path, task in found.items() if task.never} == {"main/C", "main/D"}
    late = tasks(
        workflow(
            DIAMOND.replace("  dag:", "  dag:\n    target: '{{workflow.parameters.t}}'"),
            spec="arguments: {parameters: [{name: t, value: B}]}\n",
        )
    )
    assert late["main"].unknown == [
        "Which of its tasks run: only those that its target needs, {{workflow.parameters.t}} "
        "(B with the values that the file gives)."
    ]


def test_inline_templates_are_drawn_where_they_stand():
    found = tasks(
        workflow("""
        - name: main
          dag:
            tasks:
            - name: a
              inline: {steps: [[{name: x, inline: {container: {image: busybox}}}]]}
        """)
    )
    assert {path: task.does for path, task in found.items()} == {
        "main": "dag", "main/a": "steps", "main/a/x": "container",
    }  # fmt: skip


def test_schedules_libraries_and_lists():
    cron = document(
        """
        spec:
          schedules: ["30 2 * * *", "@daily"]
          timezone: Europe/Berlin
          workflowSpec: {entrypoint: m, templates: [{name: m, suspend: {}}]}
        """,
        "CronWorkflow",
    )
    unused = document(
        "spec: {templates: [{name: a, suspend: {}}, {name: b, suspend: {}}]}\n", "WorkflowTemplate", "lib"
    )
    leaf = "spec: {entrypoint: m, templates: [{name: m, suspend: {}}]}"
    one = f"{{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {{name: l}}, {leaf}}}"
    listed = f"apiVersion: v1\nkind: List\nitems:\n- {one}\n"
    found = imported(cron, unused, listed)
    assert not found.problems, found.report()
    assert [graph.title for graph in found.graphs] == ["Workflow l", "CronWorkflow demo", "WorkflowTemplate lib"]
    assert found.graphs[1].starts == "by schedule: 30 2 * * *, @daily (Europe/Berlin)"
    assert [task.path for task in found.graphs[2].tasks] == ["a", "b"]


def test_json_is_read_too():
    text = (
        '{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "j"},'
        ' "spec": {"entrypoint": "m", "templates": [{"name": "m", "suspend": {}}]}}'
    )
    assert [task.path for task in drawn(text).tasks] == ["m"]


def test_what_stands_beside_workflows_is_passed_over_and_said():
    found = imported(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n" + workflow("- {name: main, suspend: {}}")
    )
    assert not found.problems
    assert found.notes == ("a.yaml:2: passed over, ConfigMap c is no part of a workflow.",)
