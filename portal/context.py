"""What every page's frame needs. Each fact is only read when a template asks for it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from pipelines import inbox
from teams.models import Team, User


def shell(request: HttpRequest) -> dict[str, Any]:
    return {
        "team_names": SimpleLazyObject(lambda: team_names(request)),
        "waiting_for_me": SimpleLazyObject(lambda: _waiting(request)),
    }


def team_names(request: HttpRequest) -> dict[str, str]:
    """The names of all teams by their slugs, read once for each request."""
    if not hasattr(request, "_team_names"):
        request._team_names = dict(Team.objects.values_list("slug", "name"))  # type: ignore[attr-defined]
    return request._team_names  # type: ignore[attr-defined]


def _waiting(request: HttpRequest) -> int:
    """How much waits for the person who looks; 0 for those who may see nothing."""
    actor = getattr(request, "actor", None)
    if actor is None or not isinstance(request.user, User):
        return 0
    return len(inbox.for_user(inbox.open_questions(), request.user, actor))
