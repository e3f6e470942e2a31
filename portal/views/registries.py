"""Registries: what of the published images nothing needs any more. Shown first, then deleted, exactly as shown."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pipelines import runs
from pipelines.engines import registry_cleaning
from portal import forms
from teams.policy import Action, Subject, can

from .base import TeamRequest, teammate


@teammate
@never_cache
@require_safe
def page(request: TeamRequest) -> HttpResponse:
    """All stages that publish, or the plan of one of them."""
    if not request.GET:
        return _show(request)
    form = forms.RegistryForm(request.GET)
    if not form.is_valid():
        raise Http404("Name a pipeline and a stage that publishes; keep and days are whole numbers.")
    which = _which(form)
    try:
        return _show(request, which, plan=registry_cleaning.show(user=request.user, **which))
    except (runs.NotAllowed, runs.Conflict) as refusal:
        return _refused(request, which, refusal)


@teammate
@require_POST
def clean(request: TeamRequest) -> HttpResponse:
    form = forms.CleanForm(request.POST)
    if not form.is_valid():
        raise Http404("There is no such plan.")
    which = _which(form)
    given = {name: form.cleaned_data[name] for name in ("plan", "reason")}
    try:
        gone, problem = registry_cleaning.cleaned(user=request.user, **which, **given)
    except (runs.NotAllowed, runs.Conflict) as refusal:
        return _refused(request, which, refusal)
    if problem:
        return _show(request, which, problem=f"{len(gone)} images are deleted, then it stopped: {problem}", status=409)
    many = f"{len(gone)} image{'s are' if len(gone) != 1 else ' is'}"
    messages.success(request, f"{many} deleted. The registry's own garbage collection frees the space.")
    return redirect(f"{reverse('portal:registries')}?{urlencode(which)}")


def _which(form: forms.RegistryForm) -> dict[str, Any]:
    data, default = form.cleaned_data, {"keep": registry_cleaning.KEEP, "days": registry_cleaning.DAYS}
    numbers = {name: default[name] if data[name] is None else data[name] for name in default}
    return {"pipeline": data["pipeline"], "stage": data["stage"], **numbers}


def _refused(request: TeamRequest, which: dict[str, Any], refusal: Exception) -> HttpResponse:
    status = 403 if isinstance(refusal, runs.NotAllowed) else 409
    return _show(request, which, problem=str(refusal), status=status)


def _show(
    request: TeamRequest,
    which: dict[str, Any] | None = None,
    *,
    plan: registry_cleaning.RetentionPlan | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    rows = registry_cleaning.publishers()
    context = {
        "rows": [(row, can(request.actor, Action.CLEAN_REGISTRY, Subject(owner=row.owner))) for row in rows],
        "which": which,
        "plan": plan,
        "problem": problem,
        "keep": registry_cleaning.KEEP,
        "days": registry_cleaning.DAYS,
    }
    return render(request, "portal/registries.html", context, status=status)
