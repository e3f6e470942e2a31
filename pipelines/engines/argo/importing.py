"""Everything in one call: files to graphs, owners and problems. Pages, API and command line come here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.definition.model import Problem
from pipelines.definition.report import Report, format_problems

from . import problems
from .expand import TooLargeError, graph_of
from .model import Graph
from .ownership import Assigned, assign, check_used, read_rules
from .reading import KINDS, Document, File, Source, read
from .resolve import Elsewhere, Library
from .weave import WeaveError, weave

MAX_TASKS = 10_000  # of all graphs
MAX_ONLINE = 2 * 1024 * 1024  # bytes that the portal takes at once


@dataclass(frozen=True, slots=True)
class Imported:
    """`graphs` in the order of KINDS, then of the files; also of documents with problems, as far as they go.
    `assigned`, one for each graph, says whose its tasks are; `diffs`, by the graphs' titles, what gates change in a
    workflow when it is submitted, where nothing is wrong. `problems` by the name of their file, in the files'
    order; `texts` are these files. `notes` are sentences: what was passed over, and what could not be looked up."""

    graphs: tuple[Graph, ...]
    assigned: tuple[Assigned, ...]
    problems: Mapping[str, tuple[Problem, ...]]
    notes: tuple[str, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    diffs: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Of problems."""
        return sum(len(some) for some in self.problems.values())

    @property
    def tasks(self) -> int:
        return sum(len(graph.tasks) for graph in self.graphs)

    def report(self) -> str:
        """The problems for a terminal, each with its line."""
        return "".join(format_problems(some, name, self.texts[name]) for name, some in self.problems.items())

    def plain(self) -> dict[str, Any]:
        """As JSON takes it. A task has `team`, and `gate` with the teams that are asked before it, or null."""
        graphs = [_plain(graph, one) for graph, one in zip(self.graphs, self.assigned, strict=True)]
        listed = [{"file": name, **asdict(one)} for name, some in self.problems.items() for one in some]
        return {
            "ok": not self.problems,
            "graphs": graphs,
            "problems": listed,
            "notes": list(self.notes),
            "diffs": dict(self.diffs),
            "report": self.report(),
        }


def import_files(
    sources: Sequence[Source],
    *,
    elsewhere: Elsewhere | None = None,
    owners: Source | None = None,
    teams: Collection[str] | None = None,
) -> Imported:
    """Read and draw them. `elsewhere` answers for templates that none of the files holds; `owners` is an ownership
    file, `teams` are those that exist, None leaves them unchecked. Never raises for what the files hold."""
    files = read(sources)
    library = Library(files, elsewhere)
    drawn = [(document, graph) for document, graph in _graphs(files, library) if graph.tasks]
    graphs = [graph for _, graph in drawn]
    assigned = [Assigned()] * len(graphs)
    if owners is not None:
        ownership = File(owners.name, owners.text)
        library.files.append(ownership)
        assigned = _assigned(ownership, graphs, teams) or assigned
    found = {file.name: some for file in library.files if (some := file.report.problems())}
    texts = {file.name: file.text for file in library.files if file.name in found}
    diffs, said = ({}, []) if found else _woven(drawn, assigned, library)
    notes = (*_notes(files), *library.said, *said)
    return Imported(tuple(graphs), tuple(assigned), found, notes, texts, diffs)


def _woven(
    drawn: Sequence[tuple[Document, Graph]], assigned: Sequence[Assigned], library: Library
) -> tuple[dict[str, str], list[str]]:
    """What gates change, by the titles of graphs, and what is to be said of it."""
    diffs, said = {}, []
    for (document, graph), one in zip(drawn, assigned, strict=True):
        if not one.gates or document.is_library:
            continue
        try:
            woven = weave(document, library, graph, one.gates)
        except WeaveError as error:
            said.append(str(error))
        else:
            diffs[graph.title] = woven.diff
            said += woven.notes
    return diffs, said


def _graphs(files: Sequence[File], library: Library) -> list[tuple[Document, Graph]]:
    documents = [document for file in files for document in file.documents]
    graphs: list[tuple[Document, Graph]] = []
    drawn = 0
    for document in sorted(documents, key=lambda one: KINDS.index(one.kind)):
        problems.check(document, library)
        if drawn > MAX_TASKS:
            message = f"more than {MAX_TASKS:,} tasks were drawn before this {document.kind}"
            document.file.report.add(document.node, "too-large", message, "import fewer files at once")
            continue
        try:
            graphs.append((document, graph_of(document, library)))
            drawn += len(graphs[-1][1].tasks)
        except TooLargeError as error:
            hint = "call fewer templates from it, or import a part of it"
            error.document.file.report.add(error.at, "too-large", str(error), hint)
    for file in library.files[len(files) :]:
        for document in file.documents:
            problems.check(document, library)
    return graphs


def _assigned(file: File, graphs: Sequence[Graph], teams: Collection[str] | None) -> list[Assigned] | None:
    report: Report = file.report
    rules = read_rules(file.text, report, teams)
    if rules is None:
        return None
    found = [assign(graph, rules) for graph in graphs]
    check_used(rules, graphs, found, report)
    return found


def _plain(graph: Graph, assigned: Assigned) -> dict[str, Any]:
    tasks = []
    for task in graph.tasks:
        gate = assigned.gates.get(task.position)
        asked = {one.team: one.quorum for one in gate.teams} if gate else None
        tasks.append(
            asdict(task)
            | {"needs": sorted(task.needs), "team": assigned.teams.get(task.position, "")}
            | {"gate": asked}
        )
    facts = {key: getattr(graph, key) for key in ("kind", "name", "file", "line", "starts")}
    return facts | {"tasks": tasks}


def _notes(files: Sequence[File]) -> list[str]:
    return [
        f"{file.name}:{line}: passed over, {what}."
        for file in files
        for line, what in file.passed_over
        if file.documents or not file.report
    ]
