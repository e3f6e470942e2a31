"""Every example that comes with Argo's own controller is drawn, or refused with a reason that names the line."""

from __future__ import annotations

import pytest

from pipelines.engines.argo.importing import Imported, import_files
from pipelines.engines.argo.ownership import Assigned
from pipelines.engines.argo.picture import picture
from pipelines.engines.argo.reading import Source
from tests.engines.argo import examples
from tests.engines.argo.examples import OTHER_KINDS


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    try:
        return examples.sources()
    except examples.NotHere as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def together(sources: list[Source]) -> Imported:
    return import_files(sources)


def test_all_of_them_are_there(sources):
    assert len(sources) == 210


def test_each_is_drawn_or_refused_with_its_line(sources, together):
    drawn = {graph.file for graph in together.graphs}
    refused = {name: some[0].line for name, some in together.problems.items()}
    assert refused == OTHER_KINDS, together.report()
    assert drawn | refused.keys() == {source.name for source in sources}
    assert not drawn & refused.keys()
    for name, some in together.problems.items():
        lines = next(source.text for source in sources if source.name == name).decode().splitlines()
        assert lines[some[0].line - 1].startswith("kind: "), name


def test_alone_each_is_drawn_or_refused_for_what_it_refers_to(sources):
    """Whoever has only one of the files is told which others they need, and where they are asked for."""
    asking = []
    for source in sources:
        found = import_files([source])
        if source.name in OTHER_KINDS:
            continue
        assert found.graphs, source.name
        for one in found.problems.get(source.name, ()):
            assert one.code == "missing-document", (source.name, one)
            assert "name:" in source.text.decode().splitlines()[one.line - 1]
            asking.append(source.name)
    assert "workflow-template/hello-world.yaml" in asking
    assert len(set(asking)) < 20


def test_what_their_names_promise_is_in_the_graphs(together):
    graphs = {graph.file: graph.tasks for graph in together.graphs}
    has = {
        "coinflip-recursive.yaml": lambda task: task.loops_to == 0,
        "dag-coinflip.yaml": lambda task: task.loops_to is not None,
        "dag-daemon-task.yaml": lambda task: task.daemon,
        "dag-enhanced-depends.yaml": lambda task: task.condition == "B || C",
        "exit-handlers.yaml": lambda task: task.on_exit and task.within is not None,
        "life-cycle-hooks-tmpl-level.yaml": lambda task: task.role == "hook",
        "loops.yaml": lambda task: task.fan and task.fan.width == 2,
        "loops-param-result.yaml": lambda task: task.fan and task.fan.width is None,
        "loops-sequence.yaml": lambda task: task.fan and task.fan.by == "withSequence",
        "suspend-template.yaml": lambda task: task.suspend == "for 20",
        "workflow-template/steps.yaml": lambda task: task.path == "hello-hello-hello/hello2a/inner-hello1",
        "cluster-workflow-template/mixed-cluster-namespaced-wftmpl-steps.yaml": lambda task: "/" in task.template,
        "dag-inline-workflow.yaml": lambda task: task.template == "" and task.does == "container",
        "workflow-of-workflows.yaml": lambda task: "another workflow" in " ".join(task.unknown),
    }
    missing = [name for name, sign in has.items() if not any(sign(task) for task in graphs[name])]
    assert not missing


def test_every_need_stands_before_what_needs_it(together):
    for graph in together.graphs:
        assert len({task.path for task in graph.tasks}) == len(graph.tasks), graph.title
        for task in graph.tasks:
            assert all(need < task.position for need in task.needs), (graph.title, task.path)


def test_the_hardest_have_a_picture(together, settings, tmp_path):
    settings.HOME = tmp_path
    hardest = sorted(together.graphs, key=lambda graph: len(graph.tasks))[-6:]
    loops = [graph for graph in together.graphs if any(task.loops_to is not None for task in graph.tasks)]
    for graph in (*hardest, *loops[:4]):
        found = picture(graph, Assigned(), anchor="t1-")
        assert found.svg, (graph.title, found.why_not)
        assert str(found.svg).count("data-task=") == found.boxes
