"""The panel of one stage: its fragments, its log, and what people do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from pipelines import runs, selectors
from pipelines.models import Stage
from pipelines.runs.questions import asked_digest
from portal import forms

from . import panel
from .base import TeamRequest, find_run, find_stage, number_of, run_address, teammate
from .plans import differences
from .plans import whole as whole_plan

VALUE = "value-"  # what the names of fields begin with that hold what a gate asks for


def _stage(pipeline: str, number: int, name: str) -> Stage:
    return find_stage(find_run(pipeline, number), name)


@teammate
@require_safe
def whole(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    stage = _stage(pipeline, number, name)
    return render(request, "portal/_stage.html", panel.context(request, stage, request.GET.get("tab", "")))


@teammate
@require_safe
def head(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    stage = _stage(pipeline, number, name)
    return render(request, "portal/_stage_head.html", panel.head(request, stage, request.GET.get("tab", "")))


@teammate
@require_safe
def body(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    stage = _stage(pipeline, number, name)
    return render(request, "portal/_stage_body.html", panel.body(request, stage, request.GET.get("tab", "")))


@teammate
@require_POST
def changed(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    """What is different now in the plan that the person reads; 204 when it still is the one that is asked about, 410
    when nobody is asked any more.

    It changes nothing: it is a POST because what was seen is too long for an address.
    """
    stage = _stage(pipeline, number, name)
    asks = panel.asks(stage)
    if asks and asked_digest(stage) == request.POST.get("digest"):
        return HttpResponse(status=204)
    found = differences(request.POST.get("seen", ""), stage.plan)
    context = {"stage": stage, "run": stage.run, "differences": found, "asks": asks}
    return render(request, "portal/_stale.html", context, status=200 if asks else 410)


@teammate
@require_safe
def log(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    """The log before some event: what "older" leads to."""
    stage = _stage(pipeline, number, name)
    found = selectors.log_of(stage, before=number_of(request.GET.get("before")))
    context = {"run": stage.run, "stage": stage, "log": found, "tab": "log", "selected": stage.name}
    return render(request, "portal/_log_chunks.html" if request.htmx else "portal/log.html", context)


@teammate
@require_safe
def log_text(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    stage = _stage(pipeline, number, name)
    response = HttpResponse("".join(selectors.whole_log(stage)), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{pipeline}-{number}-{stage.position}.log"'
    return response


@teammate
@require_safe
def plan_text(request: TeamRequest, pipeline: str, number: int, name: str) -> HttpResponse:
    """The whole of a plan whose page shows its beginning."""
    stage = _stage(pipeline, number, name)
    if not stage.plan:
        raise Http404(f"The stage “{name}” has no plan.")
    return HttpResponse("".join(whole_plan(stage.plan)), content_type="text/plain; charset=utf-8")


@teammate
@require_POST
def act(request: TeamRequest, pipeline: str, number: int, name: str, action: str) -> HttpResponse:
    stage = _stage(pipeline, number, name)
    try:
        said = _ACTIONS[action](stage, request)
    except (runs.NotAllowed, runs.Conflict) as refusal:
        return _refused(request, stage, refusal)
    if request.htmx:
        response = _panel(request, _stage(pipeline, number, name), said=said)
        return trigger_client_event(response, "changed")
    messages.success(request, said)
    if request.POST.get("from") == "inbox":
        return redirect("portal:inbox")
    return redirect(run_address(stage.run, stage.name))


def _panel(
    request: TeamRequest, stage: Stage, *, said: str = "", problem: str = "", seen: str = "", status: int = 200
) -> HttpResponse:
    """The stage as it is now, where the form stood: in the inbox or on the run's page."""
    in_inbox = request.POST.get("from") == "inbox"
    context = panel.context(request, stage, "plan" if in_inbox else "", problem=problem, seen=seen)
    template = "portal/_question.html" if in_inbox else "portal/_stage.html"
    return render(request, template, context | {"said": said, "in_inbox": in_inbox}, status=status)


def _refused(request: TeamRequest, stage: Stage, refusal: Exception) -> HttpResponse:
    """The same place with the sentence, the plan as it is now, and what is different in it."""
    from .runs import show

    status = 403 if isinstance(refusal, runs.NotAllowed) else 409
    fresh = find_stage(stage.run, stage.name)
    if request.htmx:
        return _panel(request, fresh, problem=str(refusal), seen=request.POST.get("seen", ""), status=status)
    return show(request, fresh.run, fresh.name, problem=str(refusal), status=status)


def _decided(stage: Stage, request: TeamRequest, how: Callable[..., Stage], said: str, **more: Any) -> str:
    form = forms.DecisionForm(request.POST)
    if not form.is_valid():
        raise runs.Conflict("Something in the form could not be read: a reason may have 2,000 characters.")
    told = form.cleaned_data
    how(stage=stage.pk, user=request.user, digest=told["digest"], reason=told["reason"], team=told["team"], **more)
    return said


def _approve(stage: Stage, request: TeamRequest) -> str:
    values = {key.removeprefix(VALUE): str(value) for key, value in request.POST.items() if key.startswith(VALUE)}
    return _decided(stage, request, runs.approve, f"You approved “{_title(stage)}”.", values=values)


def _reject(stage: Stage, request: TeamRequest) -> str:
    return _decided(stage, request, runs.reject, f"You rejected “{_title(stage)}”.")


def _reason(request: TeamRequest) -> forms.ReasonForm:
    form = forms.ReasonForm(request.POST)
    if not form.is_valid():
        raise runs.Conflict("The reason is too long: it may have 2,000 characters.")
    return form


def _retry(stage: Stage, request: TeamRequest) -> str:
    runs.retry(stage=stage.pk, user=request.user, reason=_reason(request).cleaned_data["reason"])
    return f"“{_title(stage)}” is being done again."


def _skip(stage: Stage, request: TeamRequest) -> str:
    runs.skip(stage=stage.pk, user=request.user, reason=_reason(request).cleaned_data["reason"])
    return f"“{_title(stage)}” was skipped."


def _steer(stage: Stage, request: TeamRequest) -> str:
    told = _reason(request).cleaned_data
    runs.steer(stage=stage.pk, user=request.user, command=told["command"], reason=told["reason"])
    return f"The rollout was told to {told['command'].replace('-', ' ')}."


def _override_freeze(stage: Stage, request: TeamRequest) -> str:
    runs.override_freeze(stage=stage.pk, user=request.user, reason=_reason(request).cleaned_data["reason"])
    return f"The freeze of {stage.environment} does not hold for “{_title(stage)}”."


def _title(stage: Stage) -> str:
    return stage.definition.get("title") or stage.name


_ACTIONS = {
    "approve": _approve,
    "reject": _reject,
    "retry": _retry,
    "skip": _skip,
    "steer": _steer,
    "override-freeze": _override_freeze,
}
STAGE_ACTIONS = tuple(_ACTIONS)
