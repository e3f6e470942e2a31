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

from pipelines import freezes, places, runs, selectors
from pipelines.engines import environments as live
from pipelines.models import Environment, Release
from portal import forms

from .base import TeamRequest, find_environment, number_of, run_address, teammate
from .controls import may_roll_back


@teammate
@require_safe
def all_of_them(request: TeamRequest) -> HttpResponse:
    environments = selectors.environments()
    found = live.statuses(environment.name for environment in environments)
    rows = [_now(environment, found[environment.name]) for environment in environments]
    unsettled = any(row["rollouts"] or row["live"]["problem"] for row in rows)
    return render(request, "portal/environments.html", {"rows": rows, "unsettled": unsettled})


@teammate
@require_safe
def one(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    return _show(request, find_environment(pipeline, name))


@teammate
@require_safe
def now(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    return render(request, "portal/_environment_now.html", _looked_at(find_environment(pipeline, name)))


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
    found, kept_releases = live.standing(environment.name)
    context = _now(environment, found)
    page = selectors.releases_of(environment, before=number_of(request.GET.get("before")))
    kept = None if kept_releases is None else {one["name"] for one in kept_releases}
    verdict = may_roll_back(environment, request.actor)
    current = context["live"]["release"]
    context |= {
        "releases": [(release, _way_back(release, current, kept)) for release in page.rows],
        "older": page.older,
        "may_roll_back": bool(verdict),
        "why_not": "" if verdict else verdict.reason,
        "problem": problem,
    }
    return render(request, "portal/environment.html", context, status=status)


def _way_back(release: Release, current: str, kept: set[str] | None) -> str:
    """ "now" for what runs, "kept" for what can be gone back to, "gone" for what cannot, "unknown" while nobody can
    tell."""
    if current and release.name == current:
        return "now"
    if kept is None:
        return "unknown"
    return "kept" if release.name in kept else "gone"


def _looked_at(environment: Environment) -> dict[str, Any]:
    return _now(environment, live.statuses([environment.name])[environment.name])


def _now(environment: Environment, status: dict[str, Any]) -> dict[str, Any]:
    since = status.get("since")
    frozen = freezes.frozen_until(environment.freeze, timezone.now())
    return {
        "environment": environment,
        "live": status,
        "since": datetime.fromtimestamp(since, tz=timezone.get_current_timezone()) if since else None,
        "last": environment.releases.order_by("-id").first() if status["problem"] else None,
        "weights": _weights(status),
        "places": places.of(status),
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


def _url(name: str) -> str:
    """Where people reach an environment, "" where nobody said. One of this machine is reached by the machine's name."""
    found, port = live.address(name), settings.ENVIRONMENT_PORTS.get(name)
    if port and found == f"http://127.0.0.1:{port}":
        found = f"http://{settings.ENVIRONMENT_HOST or settings.PORTAL_HOST}:{port}"
    return f"{found}/" if found else ""
