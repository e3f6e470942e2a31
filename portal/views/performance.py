"""How an environment does for its customers, and what a release did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from pipelines.models import Environment, Release
from pipelines.performance import dashboard, watch
from pipelines.performance.dashboard import Asked, Board, Graph
from pipelines.performance.effect import Effect, effects, sentence
from pipelines.performance.metrics import METRICS
from pipelines.performance.selectors import Dimension
from pipelines.performance.sentences import amount, name
from pipelines.performance.sentences import times as ratio
from portal.charts import Chart, chart, times

from . import verdicts, watched
from .base import TeamRequest, find_environment, teammate

_WORDS = {"1h": "hour", "6h": "6 hours", "24h": "24 hours", "14d": "14 days", "90d": "90 days"}
_BANDS = {"good": ("succeeded", "good"), "needs work": ("waiting", "needs work"), "poor": ("failed", "poor")}
_DIRECTIONS = {
    "better": ("succeeded", "better"),
    "worse": ("failed", "worse"),
    "same": ("skipped", "as before"),
    "unknown": ("unknown", "too little to say"),
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric: its value over the whole time, the band that it is in, and its chart."""

    name: str
    label: str
    unit: str
    graph: Graph
    chart: Chart
    value: str
    band: tuple[str, str] | None
    limit: str
    is_over: bool


@teammate
@require_safe
def page(request: TeamRequest, pipeline: str, name: str) -> HttpResponse:
    environment = find_environment(pipeline, name)
    asked = _asked(request.GET)
    now = timezone.now()
    board = dashboard.board(environment, asked, now)
    return render(
        request,
        "portal/performance.html",
        {
            "environment": environment,
            "asked": asked,
            "board": board,
            "panels": [_panel(graph, board) for graph in board.graphs if graph.count],
            "ranges": [(key, _WORDS[key], _address(asked, range=key)) for key in dashboard.RANGES],
            "splits": [(by, _address(asked, by=by)) for by in get_args(Dimension)],
            "words": _WORDS[asked.range],
            "watched": watched.panel(watch.watch(environment.name, board, now), board),
            "drops": watch.drops(environment.name, board.since, board.until),
            "times": times(board.since, board.until),
        },
    )


@teammate
@require_safe
def release(request: TeamRequest, pipeline: str, name: str, release: str) -> HttpResponse:
    environment = find_environment(pipeline, name)
    row = _find(environment, release)
    found = dashboard.impact(row, timezone.now())
    changed = effects(found.ours, found.theirs)
    return render(
        request,
        "portal/release.html",
        {
            "environment": environment,
            "release": row,
            "impact": found,
            "sentence": sentence(row.name, found.before.name if found.before else "", changed),
            "rows": [_row(effect) for effect in changed],
            "told": [(one.stage, table) for one in found.told if (table := verdicts.table(one.data))],
        },
    )


def _find(environment: Environment, release: str) -> Release:
    row = environment.releases.filter(name=release).select_related("run__pipeline").order_by("-id").first()
    if row is None:
        raise Http404(f"{environment.name} has had no release “{release}”.")
    row.environment = environment
    return row


def _asked(given: Mapping[str, str]) -> Asked:
    """What of the address can be used; the rest counts as not given."""
    wanted, by = given.get("for", ""), given.get("by", "")
    return Asked(
        range=wanted if wanted in dashboard.RANGES else dashboard.DEFAULT_RANGE,
        by=cast(Dimension, by) if by in get_args(Dimension) else "release",
        route=given.get("route", "")[:64],
        device=given.get("device", "")[:10],
    )


def _address(asked: Asked, **other: str) -> str:
    chosen = {"for": asked.range, "by": asked.by, "route": asked.route, "device": asked.device}
    chosen |= {"for" if key == "range" else key: value for key, value in other.items()}
    return "?" + urlencode({key: value for key, value in chosen.items() if value})


def _panel(graph: Graph, board: Board) -> Panel:
    metric = graph.metric
    drawn = chart(
        metric,
        graph.lines,
        since=board.since,
        until=board.until,
        step=board.step,
        limit=graph.limit,
        deploys=[(one.rolled_out_at, f"#{one.run.number}" if one.run else one.name) for one in board.deploys],
    )
    return Panel(
        name=name(metric.name),
        label=metric.label,
        unit=metric.name,
        graph=graph,
        chart=drawn,
        value=amount(metric.name, graph.value),
        band=_band(metric.good, metric.poor, graph.value),
        limit=amount(metric.name, graph.limit),
        is_over=graph.limit is not None and graph.value is not None and graph.value > graph.limit,
    )


def _band(good: float | None, poor: float | None, value: float | None) -> tuple[str, str] | None:
    if good is None or poor is None or value is None:
        return None
    return _BANDS["good" if value <= good else "needs work" if value <= poor else "poor"]


def _row(effect: Effect) -> dict[str, Any]:
    state, word = _DIRECTIONS[effect.direction]
    return {
        "metric": name(effect.metric),
        "label": METRICS[effect.metric].label,
        "state": state,
        "word": word,
        "value": amount(effect.metric, effect.value),
        "before": amount(effect.metric, effect.before),
        "change": "" if effect.change is None else f"{effect.change - 1:+.0%}",
        "bounds": f"{ratio(effect.low)} to {ratio(effect.high) or '?'}" if effect.low is not None else "",
        "measured": f"{effect.count:,} / {effect.count_before:,}",
    }
