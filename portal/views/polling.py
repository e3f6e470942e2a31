"""What the live sockets send, for pages that can open none: the same frames, asked for again and again."""

from __future__ import annotations

import json

from django.db.models import Q
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pipelines.models import Run
from pipelines.states import RUN_ENDED
from portal.live import frames

from .base import TeamRequest, find_run, number_of, teammate

NEWEST = 100  # runs; those may have ended since the last time


@teammate
@require_safe
@never_cache
def run(request: TeamRequest, pipeline: str, number: int) -> HttpResponse:
    """The events of a run behind `since`; `more` says that there are others behind these."""
    found = find_run(pipeline, number)
    since = number_of(request.GET.get("since")) or 0
    batch = frames.read(found.pk, since)
    return HttpResponse(frames.polled(batch, since), content_type="application/json")


@teammate
@require_safe
@never_cache
def portal(request: TeamRequest) -> HttpResponse:
    """The state and the last number of each run that may change."""
    newest = Run.objects.order_by("-pk").values_list("pk", flat=True)[:NEWEST]
    rows = Run.objects.filter(~Q(state__in=RUN_ENDED) | Q(pk__gte=min(newest, default=0))).order_by("pk")
    runs = [{"pk": pk, "state": state, "last": last} for pk, state, last in rows.values_list("pk", "state", "last_seq")]
    return HttpResponse(json.dumps({"type": "heads", "runs": runs}), content_type="application/json")
