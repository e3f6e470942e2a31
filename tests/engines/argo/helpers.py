"""Workflows as short as a test can have them."""

from __future__ import annotations

import textwrap

from pipelines.engines.argo.importing import Imported, import_files
from pipelines.engines.argo.model import Graph, Task
from pipelines.engines.argo.reading import Source

HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
LEAF = "  - {name: leaf, container: {image: busybox}}\n"


def document(body: str, kind: str = "Workflow", name: str = "demo") -> str:
    return HEAD.format(kind=kind, name=name) + textwrap.dedent(body).lstrip("\n")


def workflow(templates: str, *, spec: str = "", entrypoint: str = "main") -> str:
    """A workflow of these templates (written from column 0 on) and one that does something, `leaf`."""
    spec = textwrap.indent(textwrap.dedent(spec), "  ")
    return (
        HEAD.format(kind="Workflow", name="demo")
        + f"spec:\n  entrypoint: {entrypoint}\n{spec}  templates:\n"
        + textwrap.indent(textwrap.dedent(templates).strip("\n"), "  ")
        + "\n"
        + LEAF
    )


def imported(*texts: str, **options: object) -> Imported:
    """The files a.yaml, b.yaml, ..."""
    return import_files([Source(f"{chr(97 + n)}.yaml", text.encode()) for n, text in enumerate(texts)], **options)


def drawn(*texts: str) -> Graph:
    """The graph of the first workflow, which has no problems."""
    found = imported(*texts)
    assert not found.problems, found.report()
    return found.graphs[0]


def tasks(*texts: str) -> dict[str, Task]:
    """Those of the first graph, by path."""
    return {task.path: task for task in drawn(*texts).tasks}


def lines_of(graph: Graph) -> set[tuple[str, str]]:
    """What comes right before what, by path."""
    return {(graph.tasks[need].path, task.path) for task in graph.tasks for need in task.needs}


def problems(*texts: str, **options: object) -> list[str]:
    """As a terminal shows them, without the lines of the file."""
    found = imported(*texts, **options)
    return [
        f"{name}:{one.line}:{one.column}: {one.message}" + (f" ({one.hint})" if one.hint else "")
        for name, some in found.problems.items()
        for one in some
    ]
