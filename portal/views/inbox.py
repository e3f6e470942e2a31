"""The first page: what waits for me, and what I wait for."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from pipelines import inbox
from pipelines.models import Stage
from pipelines.states import State

from . import panel
from .base import TeamRequest, number_of, teammate

ROWS = 50  # of what waits for somebody, what blocks most stands first
NAMED = 10  # of what somebody waits for, by team


@teammate
@require_safe
def page(request: TeamRequest) -> HttpResponse:
    """A question is always open beside the list: the one that was chosen, else what blocks most. A narrow screen shows
    it once it is chosen."""
    context = _lists(request)
    chosen = number_of(request.GET.get("stage"))
    shown = chosen or (context["mine"][0].stage.pk if context["mine"] else None)
    if shown:
        context |= panel.context(request, _find(shown), "plan") | {"in_inbox": True}
    return render(request, "portal/inbox.html", context | {"chosen": shown, "is_open": bool(chosen)})


@teammate
@require_safe
def rows(request: TeamRequest) -> HttpResponse:
    context = _lists(request) | {"chosen": number_of(request.GET.get("stage"))}
    return render(request, "portal/_inbox_list.html", context)


@teammate
@require_safe
def question(request: TeamRequest, stage: int) -> HttpResponse:
    context = panel.context(request, _find(stage), "plan") | {"in_inbox": True}
    return render(request, "portal/_question.html", context)


def _find(stage: int) -> Stage:
    try:
        return Stage.objects.select_related("run__pipeline", "run__requested_by").get(pk=stage)
    except Stage.DoesNotExist:
        raise Http404("There is no such stage (any more).") from None


def _lists(request: TeamRequest) -> dict[str, Any]:
    questions = inbox.with_blocked(inbox.open_questions())
    mine = inbox.for_user(questions, request.user, request.actor)
    keys = {question.stage.pk for question in mine}
    others = [question for question in questions if question.stage.pk not in keys]
    with_all = "all" in request.GET
    return {
        "mine": mine,
        "listed": mine if with_all else mine[:ROWS],
        "others": inbox.waits_on_others(others, request.user, request.actor),
        "named": None if with_all else NAMED,
        "with_all": "?all" if with_all else "",
        "lost": State.UNKNOWN,
    }
