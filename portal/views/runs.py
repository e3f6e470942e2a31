"""The list of runs, and one run with its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from pipelines import graph, runs, selectors
from pipelines.models import Run
from pipelines.selectors import Glance
from pipelines.states import RunState, State
from portal import forms

from . import panel, stage_lists
from .base import TeamRequest, find_run, number_of, run_address, teammate
from .situation import header


@teammate
@require_safe
def run_list(request: TeamRequest) -> HttpResponse:
    form = forms.RunFilter(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    page = selectors.run_list(
        pipeline=chosen.get("pipeline", ""),
        state=chosen.get("state", ""),
        by=request.user if chosen.get("mine") else None,
        before=number_of(request.GET.get("before")),
    )
    counts = selectors.stage_counts(page.rows)
    context = {
        "rows": [(run, counts.get(run.pk, {})) for run in page.rows],
        "older": page.older,
        "chosen": chosen,
        "filtered": any(chosen.values()),
        "pipelines": selectors.pipelines(),
        "states": list(RunState),
    }
    more = request.htmx and request.GET.get("before")
    return render(request, "portal/_run_rows.html" if more else "portal/runs.html", context)


@teammate
@require_safe
def run_page(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    run = find_run(pipeline, number)
    return show(request, run, request.GET.get("stage", ""), request.GET.get("tab", ""))


def show(
    request: TeamRequest, run: Run, name: str, tab: str = "", *, problem: str = "", status: int = 200
) -> HttpResponse:
    """The whole page with a stage selected: the one named, else the one that matters most now."""
    stages = selectors.glances_of(run)
    context = header(request, run, stages)
    if any(stage.name == name for stage in stages):
        selected = name
    else:
        selected = context["mine"].name if context["mine"] else _most_urgent(run, stages)
    context |= _picture(request, run, stages, selected)
    context |= stage_lists.context(request, run, stages) | {"problem": problem}
    if selected:
        stage = selectors.get_stage(run, selected)
        context |= panel.context(request, stage, tab) | {"problem": problem}
    return render(request, "portal/run.html", context, status=status)


def _picture(request: TeamRequest, run: Run, stages: Sequence[Glance], selected: str) -> dict[str, Any]:
    whole = request.GET.get("graph") == "whole"
    columns = min(number_of(request.GET.get("columns")) or graph.COLUMNS, graph.MOST_BOXES)
    picture = graph.picture(run, stages, selected, whole=whole, columns=columns)
    return {"picture": picture, "whole": whole and picture.may_be_whole}


@teammate
@require_safe
def run_graph(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    """The picture alone, so many `columns` wide: for narrow screens."""
    run = find_run(pipeline, number)
    stages = selectors.glances_of(run)
    context = _picture(request, run, stages, request.GET.get("stage", ""))
    return render(request, "portal/_graph.html", context | {"run": run})


@teammate
@require_safe
def run_header(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    run = find_run(pipeline, number)
    return render(request, "portal/_run_header.html", header(request, run, selectors.glances_of(run)))


@teammate
@require_safe
def stage_list(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    run = find_run(pipeline, number)
    context = stage_lists.context(request, run, selectors.glances_of(run))
    context |= {"run": run, "selected": request.GET.get("stage", "")}
    return render(request, "portal/_stage_list.html", context)


_URGENT = (State.WAITING, State.UNKNOWN, State.FAILED, State.ERROR, State.REJECTED, State.RUNNING, State.QUEUED)


def _most_urgent(run: Run, stages: Sequence[Glance]) -> str:
    first: dict[str, str] = {}
    for stage in stages:
        first.setdefault(stage.state, stage.name)
    if urgent := next((first[state] for state in _URGENT if state in first), ""):
        return urgent
    done = run.stages.filter(state=State.SUCCEEDED, on_exit=False).order_by("-ended_at", "-position")
    return done.values_list("name", flat=True).first() or (stages[0].name if stages else "")


@teammate
@require_POST
def run_action(request: TeamRequest, pipeline: str, number: int, action: str) -> HttpResponse:
    run = find_run(pipeline, number)
    form = forms.ReasonForm(request.POST)
    if not form.is_valid():
        return _refused(request, run, runs.Conflict("The reason is too long: it may have 2,000 characters."))
    try:
        said = _ACTIONS[action](run, request, form.cleaned_data["reason"])
    except (runs.NotAllowed, runs.Conflict) as refusal:
        return _refused(request, run, refusal)
    messages.success(request, said)
    return redirect(run_address(run))


def _refused(request: TeamRequest, run: Run, refusal: Exception) -> HttpResponse:
    status = 403 if isinstance(refusal, runs.NotAllowed) else 409
    return show(request, run, "", problem=str(refusal), status=status)


def _cancel(run: Run, request: TeamRequest, reason: str) -> str:
    runs.cancel(run=run.pk, user=request.user, reason=reason)
    return f"Run #{run.number} is being canceled; its exit stages still run."


def _terminate(run: Run, request: TeamRequest, reason: str) -> str:
    runs.terminate(run=run.pk, user=request.user, reason=reason)
    return f"Run #{run.number} is being terminated."


def _rerun(run: Run, request: TeamRequest, reason: str) -> str:
    runs.rerun(run=run.pk, user=request.user)
    return f"Commit {run.commit[:7]} was handed in again; its new run appears in the list of runs in a moment."


def _retry_failed(run: Run, request: TeamRequest, reason: str) -> str:
    runs.retry_failed(run=run.pk, user=request.user, reason=reason)
    return "What failed is being done again."


def _adopt(run: Run, request: TeamRequest, reason: str) -> str:
    runs.adopt(run=run.pk, user=request.user, reason=reason)
    return f"Run #{run.number} is adopted: its gates are opened here from now on."


_ACTIONS = {"adopt": _adopt, "cancel": _cancel, "terminate": _terminate, "rerun": _rerun, "retry-failed": _retry_failed}
RUN_ACTIONS = tuple(_ACTIONS)
