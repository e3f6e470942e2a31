"""Who may see a page at all, and what every page is answered with."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from pipelines import selectors
from pipelines.models import Environment, Pipeline, Run, Stage
from teams.models import User
from teams.policy import Action, Actor, can


class TeamRequest(HttpRequest):
    """A request of somebody who may look: `teammate` has made sure of it."""

    user: User
    actor: Actor
    htmx: HtmxDetails


View = Callable[..., HttpResponse]


def teammate(view: View) -> View:
    """Ask for a sign-in first; whoever is in no team is told so and sees nothing."""

    @wraps(view)
    def inner(request: TeamRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not isinstance(request.user, User):
            return _to_sign_in(request)
        request.actor = request.user.as_actor()
        if not (verdict := can(request.actor, Action.VIEW)):
            raise PermissionDenied(verdict.reason)
        return view(request, *args, **kwargs)

    return inner


def _to_sign_in(request: TeamRequest) -> HttpResponse:
    if request.htmx:
        # The sign-in page has to replace the whole page, not the fragment that was asked for.
        back = request.htmx.current_url_abs_path or "/"
        response = HttpResponseClientRedirect(f"{reverse('portal:sign-in')}?{urlencode({'next': back})}")
        response.status_code = 401
        return response
    return redirect_to_login(request.get_full_path())


def find_run(pipeline: str, number: int) -> Run:
    try:
        return selectors.get_run(pipeline, number)
    except Run.DoesNotExist:
        raise Http404(f"There is no run #{number} of a pipeline “{pipeline}”.") from None


def find_stage(run: Run, name: str) -> Stage:
    try:
        return selectors.get_stage(run, name)
    except Stage.DoesNotExist:
        raise Http404(f"Run {run} has no stage “{name}”.") from None


def find_pipeline(slug: str) -> Pipeline:
    try:
        return selectors.get_pipeline(slug)
    except Pipeline.DoesNotExist:
        raise Http404(f"There is no pipeline “{slug}”.") from None


def find_environment(pipeline: str, name: str) -> Environment:
    try:
        return selectors.get_environment(pipeline, name)
    except Environment.DoesNotExist:
        raise Http404(f"There is no environment “{name}” of a pipeline “{pipeline}”.") from None


def number_of(text: str | None) -> int | None:
    """A key from the address; anything that is none counts as not given."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def run_address(run: Run, stage: str = "") -> str:
    address = reverse("portal:run", args=[run.pipeline.slug, run.number])
    return f"{address}?{urlencode({'stage': stage})}" if stage else address
