"""Environments: what runs in them, and the way back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from pipelines import freezes, runs, selectors
from pipelines.engines import environments as live
from pipelines.models import Environment, Release
from portal import forms

from .base import TeamRequest, find_environment, number_of, run_address, teammate
from .controls import may_roll_back


@teammate
@require_safe
def all_of_them(request: TeamRequest) -> HttpResponse:
    rows = [_now(environment) for environment in selectors.environments()]
    return render(request, "portal/environments.html", {"rows": rows})


@teammate
@require_safe
def one(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    return _show(request, find_environment(pipeline, name))


@teammate
@require_safe
def now(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    return render(request, "portal/_environment_now.html", _now(find_environment(pipeline, name)))


@teammate
@require_POST
def roll_back(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    environment = find_environment(pipeline, name)
    form = forms.RollBackForm(request.POST)
    if not form.is_valid() or not environment.releases.filter(pk=form.cleaned_data["release"]).exists():
        raise Http404("There is no such release in this environment.")
    try:
        run = runs.roll_back(
            release=form.cleaned_data["release"], user=request.user, reason=form.cleaned_data["reason"]
        )
    except (runs.NotAllowed, runs.Conflict) as refusal:
        status = 403 if isinstance(refusal, runs.NotAllowed) else 409
        return _show(request, environment, problem=str(refusal), status=status)
    messages.success(request, f"Rolling {environment.name} back.")
    return redirect(run_address(run))


def _show(request: TeamRequest, environment: Environment, *, problem: str = "", status: int = 200) -> HttpResponse:
    context = _now(environment)
    page = selectors.releases_of(environment, before=number_of(request.GET.get("before")))
    kept = {one["name"] for one in live.releases(environment.name)}
    verdict = may_roll_back(environment, request.actor)
    current = context["live"]["release"]
    context |= {
        "releases": [(release, _way_back(release, current, kept)) for release in page.rows],
        "older": page.older,
        "may_roll_back": bool(verdict),
        "why_not": "" if verdict else verdict.reason,
        "previous": next((r for r in page.rows if r.name in kept and r.name != current), None),
        "problem": problem,
    }
    return render(request, "portal/environment.html", context, status=status)


def _way_back(release: Release, current: str, kept: set[str]) -> str:
    """ "now" for what runs, "kept" for what can be gone back to, "gone" for what cannot."""
    if release.name == current:
        return "now"
    return "kept" if release.name in kept else "gone"


def _now(environment: Environment) -> dict[str, Any]:
    status = live.status(environment.name)
    since = status.get("since")
    frozen = freezes.frozen_until(environment.freeze, timezone.now())
    return {
        "environment": environment,
        "live": status,
        "since": datetime.fromtimestamp(since, tz=timezone.get_current_timezone()) if since else None,
        "weights": _weights(status),
        "replicas": _replicas(status),
        "rollouts": selectors.pending_rollouts(environment),
        "frozen": frozen,
        "url": _url(environment.name),
    }


def _weights(status: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(release, per cent, where its part of the bar begins), what is stable first."""
    found, begin = [], 0
    for release, weight in sorted(status["weights"].items(), key=lambda one: one[0] != status["release"]):
        found.append((release, int(weight), begin))
        begin += int(weight)
    return found


def _replicas(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"release": release, "service": service, **facts}
        for release, services in status["sets"].items()
        for service, facts in sorted(services.items())
    ]


def _url(name: str) -> str:
    """Where people reach an environment of the local target, "" when it has no port here."""
    port, host = settings.ENVIRONMENT_PORTS.get(name), settings.ENVIRONMENT_HOST or settings.PORTAL_HOST
    return f"http://{host}:{port}/" if port else ""
