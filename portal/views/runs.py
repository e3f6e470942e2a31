"""The list of runs, and one run with its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from pipelines import graph, inbox, runs, selectors
from pipelines.models import Run, Stage
from pipelines.runs.actions import stage_subject
from pipelines.runs.questions import asked_digest, asked_teams, is_paused
from pipelines.sentences import Now, what_happens_now
from pipelines.states import Reason, RunState, State
from portal import forms
from portal.context import team_names
from teams.policy import Action, can

from . import panel
from .base import TeamRequest, find_run, number_of, run_address, teammate
from .controls import run_controls

# The order in which a person wants to read about stages.
_GROUPS = (
    State.WAITING, State.UNKNOWN, State.FAILED, State.ERROR, State.REJECTED, State.RUNNING, State.QUEUED,
    State.PENDING, State.SUCCEEDED, State.SKIPPED, State.OMITTED, State.CANCELED,
)  # fmt: skip


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
    stages = selectors.stages_of(run)
    selected = name if any(stage.name == name for stage in stages) else _most_urgent(stages)
    picture = graph.svg(run, selected)
    context = header(request, run, stages) | {"graph": picture, "groups": groups(stages), "problem": problem}
    context["no_graph"] = "" if picture or not stages else graph.why_not(run)
    if selected:
        stage = selectors.get_stage(run, selected)
        context |= panel.context(request, stage, tab) | {"problem": problem}
    return render(request, "portal/run.html", context, status=status)


@teammate
@require_safe
def run_header(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    run = find_run(pipeline, number)
    return render(request, "portal/_run_header.html", header(request, run, selectors.stages_of(run)))


@teammate
@require_safe
def stage_list(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    run = find_run(pipeline, number)
    context = {"run": run, "groups": groups(selectors.stages_of(run)), "selected": request.GET.get("stage", "")}
    return render(request, "portal/_stage_list.html", context)


def header(request: TeamRequest, run: Run, stages: Sequence[Stage]) -> dict[str, Any]:
    asking = [s for s in stages if s.state == State.WAITING and s.reason_code == Reason.APPROVAL]
    have = selectors.have_approved(asking)
    names = team_names(request)
    voted = _voted(request, asking[:1])
    facts = [_now(request, stage, have.get(stage.pk, {}), names, voted=voted) for stage in stages]
    elapsed = ((run.ended_at or timezone.now()) - run.created_at).total_seconds()
    return {
        "run": run,
        "sentence": what_happens_now(
            state=run.state, reason=run.reason, stopping=run.stopping, elapsed=elapsed, stages=facts
        ),
        "controls": run_controls(run, stages, request.user, request.actor),
        "done": sum(stage.ended_at is not None for stage in stages),
        "total": len(stages),
    }


def _voted(request: TeamRequest, stages: list[Stage]) -> bool:
    """Whether this person has approved the first question already."""
    digests = {stage.pk: asked_digest(stage) for stage in stages}
    return any(request.user.pk in people for people in inbox.who_answered(digests).values())


def _now(request: TeamRequest, stage: Stage, have: dict[str, int], names: dict[str, str], *, voted: bool) -> Now:
    asking = stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL
    since = (timezone.now() - stage.since).total_seconds() if stage.since else 0.0
    return Now(
        title=stage.definition.get("title") or stage.name,
        state=stage.state,
        code=stage.reason_code,
        reason=stage.reason,
        owner=names.get(stage.owner, stage.owner),
        seconds=since,
        asked={names.get(team, team): quorum for team, quorum in asked_teams(stage).items()} if asking else {},
        have={names.get(team, team): count for team, count in have.items()},
        paused=is_paused(stage),
        verdict=_about_me(request, stage, have, voted=voted) if asking else "",
    )


def _about_me(request: TeamRequest, stage: Stage, have: dict[str, int], *, voted: bool) -> str:
    """What the person who looks has to do with a question, "" when nothing."""
    if voted:
        return "You have approved it."
    subject = stage_subject(stage, request.user)
    missing = [team for team, quorum in asked_teams(stage).items() if have.get(team, 0) < quorum]
    if not any(request.actor.works_in(team) for team in missing):
        return ""
    if can(request.actor, Action.APPROVE, subject):
        return "You can approve it."
    if subject.requested_by_actor:
        what = "pushed this commit" if stage.run.trigger == "push" else "requested this run"
        return f"You {what}, so you cannot."
    return ""


def groups(stages: Sequence[Stage]) -> list[tuple[str, list[Stage]]]:
    """The stages by their state, what needs attention first."""
    found: dict[str, list[Stage]] = {}
    for stage in stages:
        found.setdefault(stage.state, []).append(stage)
    return [(state.value, found[state]) for state in _GROUPS if state in found]


def _most_urgent(stages: Sequence[Stage]) -> str:
    order = (State.WAITING, State.UNKNOWN, State.FAILED, State.ERROR, State.REJECTED, State.RUNNING, State.QUEUED)
    for state in order:
        for stage in stages:
            if stage.state == state:
                return stage.name
    ended = [stage for stage in stages if stage.ended_at and stage.state == State.SUCCEEDED and not stage.on_exit]
    last = max(ended, key=lambda stage: (stage.ended_at, stage.position), default=stages[0] if stages else None)
    return last.name if last else ""


@teammate
@require_POST
def run_action(request: TeamRequest, pipeline: str, number: int, action: str) -> HttpResponse:
    run = find_run(pipeline, number)
    form = forms.ReasonForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    try:
        said = _ACTIONS[action](run, request, reason)
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


_ACTIONS = {"cancel": _cancel, "terminate": _terminate, "rerun": _rerun, "retry-failed": _retry_failed}
RUN_ACTIONS = tuple(_ACTIONS)
