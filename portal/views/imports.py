"""Workflows that a team already has: pasted or uploaded, drawn before they run. Nothing is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pipelines import runs, selectors
from pipelines.definition.model import Gate
from pipelines.engines.argo import cluster, submitting
from pipelines.engines.argo.chosen import AdoptError
from pipelines.engines.argo.importing import MAX_ONLINE, Imported, import_files
from pipelines.engines.argo.model import Graph, Task
from pipelines.engines.argo.ownership import Assigned
from pipelines.engines.argo.picture import marks, picture
from pipelines.engines.argo.reading import Source
from pipelines.graph import COLUMNS
from pipelines.models import Pipeline
from teams.models import Team
from teams.policy import Action, can

from .base import TeamRequest, run_address, teammate

DRAWN_FOR = 8.0  # seconds after which further workflows are listed without a picture
MOST_ROWS = 1000  # of all tables
PASTED, OWNERS = "pasted.yaml", "owners.yaml"


@dataclass(frozen=True, slots=True)
class Row:
    """A task as the table shows it."""

    task: Task
    marks: str
    team: str
    gate: Gate | None
    depth: int


@dataclass(frozen=True, slots=True)
class Section:
    """A workflow on the page. `wide` and `narrow` are the same picture; without them `why_not` says why."""

    graph: Graph
    number: int
    rows: list[Row]
    left_out: int
    wide: SafeString | None = None
    narrow: SafeString | None = None
    folded: bool = False
    why_not: str = ""
    diff: str = ""

    @property
    def owned(self) -> bool:
        return any(row.team for row in self.rows)

    @property
    def legend(self) -> str:
        """What the signs mean that this picture has."""
        said = [
            "Dashed: only the run will tell whether, how often, or what." if self.graph.unknown else "",
            "Amber lines lead back to what repeats." if any(t.loops_to is not None for t in self.graph.tasks) else "",
            "A box with several tasks says how many." if self.folded else "",
        ]
        return " ".join(filter(None, said))


@teammate
@never_cache
@require_safe
def page(request: TeamRequest) -> HttpResponse:
    return _show(request)


@teammate
@never_cache
@require_POST
def argo(request: TeamRequest) -> HttpResponse:
    """Draw what was pasted and uploaded."""
    if not (verdict := can(request.actor, Action.IMPORT_WORKFLOWS)):
        raise PermissionDenied(verdict.reason)
    sources, problem = _sources(request)
    if problem:
        return _show(request, problem=problem)
    elsewhere = None
    if wanted := request.POST.get("cluster"):
        try:
            elsewhere = cluster.templates_of(Path(settings.HOME), wanted, request.POST.get("namespace") or "default")
        except cluster.UnknownClusterError as error:
            return _show(request, problem=str(error))
    text = request.POST.get("owners", "")
    owners = Source(OWNERS, text.encode()) if text.strip() else None
    if request.POST.get("submit") and owners is not None:
        return _submit(request, sources, owners)
    teams = set(Team.objects.values_list("slug", flat=True))
    return _show(request, import_files(sources, elsewhere=elsewhere, owners=owners, teams=teams))


def _submit(request: TeamRequest, sources: list[Source], owners: Source) -> HttpResponse:
    """Begin a run of it, and show that."""
    pipeline = Pipeline.objects.filter(slug=request.POST.get("pipeline", "")).first()
    if pipeline is None:
        return _show(request, problem="Say which pipeline it becomes a run of.")
    order = submitting.Order(sources, owners, request.POST.get("place", ""), request.POST.get("workflow", ""))
    try:
        run = submitting.submit(pipeline=pipeline, user=request.user, order=order)
    except AdoptError as error:
        return _show(request, problem=f"{error} {error.report}".strip())
    except runs.NotAllowed as error:
        return _show(request, problem=str(error))
    return redirect(run_address(run))


def _sources(request: TeamRequest) -> tuple[list[Source], str]:
    """What was given, and what is wrong with it as a whole, "" if nothing is."""
    pasted = request.POST.get("text", "")
    uploads = request.FILES.getlist("files")
    if not pasted.strip() and not uploads:
        return [], "Paste a workflow, or choose files."
    if len(pasted.encode("utf-8", "replace")) + sum(one.size or 0 for one in uploads) > MAX_ONLINE:
        return (
            [],
            f"All files together may have {MAX_ONLINE // 2**20} MiB. The command line takes more: burger import argo.",
        )
    found = {PASTED: pasted.encode("utf-8", "replace")} if pasted.strip() else {}
    for one in uploads:
        name, number = one.name or "upload", 1
        while name in found:
            number += 1
            name = f"{one.name} ({number})"
        found[name] = one.read()
    return [Source(name, text) for name, text in found.items()], ""


def _show(request: TeamRequest, imported: Imported | None = None, *, problem: str = "") -> HttpResponse:
    verdict = can(request.actor, Action.IMPORT_WORKFLOWS)
    given = {key: request.POST.get(key, "") for key in ("text", "owners", "cluster", "namespace", "place", "pipeline")}
    context = {
        "imported": imported,
        "sections": _sections(imported) if imported else [],
        "problems": _problems(imported) if imported else [],
        "problem": problem,
        "given": given,
        "clusters": cluster.names(Path(settings.HOME)) if verdict else [],
        "places": submitting.places() if verdict else [],
        "pipelines": selectors.pipelines() if verdict else [],
        "may_import": bool(verdict),
        "why_not": verdict.reason,
        "limit": MAX_ONLINE // 2**20,
    }
    return render(request, "portal/imports.html", context)


def _problems(imported: Imported) -> list[dict[str, object]]:
    """Each with its line of the file, cut around its place."""
    found = []
    for name, some in imported.problems.items():
        lines = imported.texts[name].decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
        for one in some:
            line = lines[one.line - 1] if 0 < one.line <= len(lines) else ""
            begin = max(0, one.column - 60)
            shown = "".join(char if char.isprintable() else " " for char in line[begin : begin + 120])
            found.append({"file": name, "one": one, "line": shown, "caret": " " * (one.column - 1 - begin) + "^"})
    return found


def _sections(imported: Imported) -> list[Section]:
    until, left = time.monotonic() + DRAWN_FOR, MOST_ROWS
    found = []
    for number, (graph, assigned) in enumerate(zip(imported.graphs, imported.assigned, strict=True), 1):
        rows = _rows(graph, assigned)
        diff = imported.diffs.get(graph.title, "")
        section = Section(graph, number, rows[:left], len(rows) - len(rows[:left]), diff=diff)
        left -= len(section.rows)
        found.append(_drawn(section, assigned) if time.monotonic() < until else _not_drawn(section))
    return found


def _rows(graph: Graph, assigned: Assigned) -> list[Row]:
    return [
        Row(task, marks(task), assigned.teams.get(n, ""), assigned.gates.get(n), min(task.depth, 5))
        for n, task in enumerate(graph.tasks)
    ]


def _drawn(one: Section, assigned: Assigned) -> Section:
    wide, narrow = (picture(one.graph, assigned, anchor=f"t{one.number}-", columns=columns) for columns in (COLUMNS, 1))
    return Section(
        one.graph, one.number, one.rows, one.left_out, wide.svg, narrow.svg, wide.folded, wide.why_not, one.diff
    )  # fmt: skip


def _not_drawn(one: Section) -> Section:
    why = "So many workflows are not drawn at once. Import this one alone to see it."
    return Section(one.graph, one.number, one.rows, one.left_out, why_not=why, diff=one.diff)
