"""One workflow of the files that were given, with whose its tasks are: what is adopted or converted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines.definition.model import Problem
from pipelines.definition.report import Report, format_problems

from . import problems
from .expand import TooLargeError, graph_of
from .model import Graph
from .ownership import Assigned, Rules, assign, check_used, read_rules
from .reading import Document, File, Source, read
from .resolve import Elsewhere, Library


class AdoptError(Exception):
    """It cannot be adopted; the message says why and what to do. `report` holds the problems, as a terminal shows
    them, "" where there is only the message."""

    def __init__(self, message: str, report: str = "") -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True)
class Chosen:
    """A workflow without problems. `assigned` is by the positions of `graph`."""

    document: Document
    library: Library
    graph: Graph
    assigned: Assigned


def choose(
    sources: Sequence[Source],
    owners: Source | None = None,
    *,
    teams: Collection[str] | None = None,
    elsewhere: Elsewhere | None = None,
    document: str = "",
    over: Rules | None = None,
    submitted: bool = False,
) -> Chosen:
    """`document` names the workflow where there are several. `over` are rules that win over those of `owners`.
    `submitted`: see `Library`. Raises AdoptError."""
    files = read(sources)
    library = Library(files, elsewhere, submitted=submitted)
    found = _chosen(library.documents, document, files)
    problems.check(found, library)
    graph = draw(found, library)
    assigned, ownership = Assigned(), []
    if owners is not None:
        file = File(owners.name, owners.text)
        ownership.append(file)
        rules = read_rules(file.text, file.report, teams)
        if rules is not None:
            assigned = assign(graph, rules if over is None else rules.under(over))
            others = [one for one in library.documents if one is not found]
            _check_used(rules, graph, assigned, file.report, others)
    _refuse([*library.files, *ownership], library)
    return Chosen(found, library, graph, assigned)


def _chosen(documents: Sequence[Document], wanted: str, files: Sequence[File]) -> Document:
    if wanted:
        found = [one for one in documents if wanted in (one.name, one.title)]
    else:
        found = [one for one in documents if not one.is_library] or list(documents)
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.title for one in documents) or "none that can be read"
    what = f"no workflow {wanted!r}" if wanted and not found else "more than one workflow" if found else "no workflow"
    raise AdoptError(f"There is {what} in these files; say which one is meant. They have: {names}.", said(files))


def draw(document: Document, library: Library) -> Graph:
    try:
        return graph_of(document, library)
    except TooLargeError as error:
        raise AdoptError(f"It is too large: {error}.") from error


def _check_used(
    rules: Rules, graph: Graph, assigned: Assigned, report: Report, others: Sequence[Document]
) -> None:  # fmt: skip
    """An entry may be about another workflow that shares the file, which is not known here; gates are judged."""
    seen = Report()
    check_used(rules, [graph], [assigned], seen)
    for one in seen.problems():
        if one.code != "matches-nothing" or not others:
            report.add((one.line, one.column), one.code, one.message, one.hint)


def _refuse(files: Sequence[File], library: Library) -> None:
    count = sum(len(file.report.problems()) for file in files)
    if count:
        raise AdoptError(" ".join([f"It has {count} problem{'s' * (count > 1)}.", *library.said]), said(files))
    if library.said:
        raise AdoptError(" ".join(library.said))


def said(files: Sequence[File]) -> str:
    def one(found: Sequence[Problem], file: File) -> str:
        return format_problems(tuple(found), file.name, file.text)

    return "".join(one(file.report.problems(), file) for file in files)
