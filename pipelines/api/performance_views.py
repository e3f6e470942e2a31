"""What was measured of an environment and of a release: the same numbers as on the pages."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.performance import dashboard, watch
from pipelines.performance.dashboard import Asked, Graph
from pipelines.performance.effect import effects, sentence
from pipelines.performance.watch import Watch

from . import answers, bodies, find, shapes
from .describe import described


class PerformanceView(APIView):
    @described("How an environment did over time", shapes.Performance, query=bodies.Performance)
    def get(self, request: Request, pipeline: str, name: str) -> Response:
        environment = find.environment(pipeline, name)
        given = bodies.Performance.of_query(request)
        asked = Asked(range=given["range"], by=given["by"], route=given["route"], device=given["device"])
        now = timezone.now()
        board = dashboard.board(environment, asked, now)
        drops = watch.drops(environment.name, board.since, board.until)
        return Response(
            {
                "since": answers.time(board.since),
                "until": answers.time(board.until),
                "step": int(board.step.total_seconds()),
                "metrics": [_graph(graph) for graph in board.graphs],
                "releases": [answers.release(release) for release in board.deploys],
                "routes": board.routes,
                "devices": board.devices,
                "probes": _watch(watch.watch(environment.name, board, now)),
                "views": drops.views,
                "dropped": [
                    {"reason": one.reason, "meaning": one.meaning, "count": one.here, "unassigned": one.anywhere}
                    for one in drops.drops
                ],
            }
        )


class ReleaseView(APIView):
    @described("What a release did to the site", shapes.ReleaseEffect)
    def get(self, request: Request, pipeline: str, name: str, release: str) -> Response:
        bodies.Empty.of_query(request)
        environment = find.environment(pipeline, name)
        row = environment.releases.filter(name=release).select_related("run__pipeline").order_by("-id").first()
        if row is None:
            raise NotFound(f"{pipeline}/{name} has had no release {release}.")
        row.environment = environment
        found = dashboard.impact(row, timezone.now())
        before = found.before.name if found.before else ""
        changed = effects(found.ours, found.theirs)
        return Response(
            answers.release(row)
            | {
                "before": before,
                "sentence": sentence(row.name, before, changed),
                "since": answers.time(found.came),
                "until": answers.time(found.until),
                "effects": [
                    {
                        "metric": one.metric, "direction": one.direction, "value": one.value, "before": one.before,
                        "count": one.count, "count_before": one.count_before,
                        "at_least": one.low, "at_most": one.high,
                    }
                    for one in changed
                ],
                "verdicts": [{"stage": one.stage, **one.data} for one in found.told],
            }
        )  # fmt: skip


def _graph(graph: Graph) -> dict[str, Any]:
    return {
        "metric": graph.metric.name,
        "value": graph.value,
        "count": graph.count,
        "limit": graph.limit,
        "good": graph.metric.good,
        "poor": graph.metric.poor,
        "lines": [
            {
                "name": line.name,
                "value": line.value,
                "count": line.count,
                "points": [
                    {"at": answers.time(point.at), "value": point.value, "count": point.count} for point in line.points
                ],
            }
            for line in graph.lines
        ],
    }


def _watch(found: Watch) -> dict[str, Any]:
    lasted, looks, failed = found.unattended
    return {
        "every": found.every,
        "at": answers.time(found.at),
        "problem": found.problem,
        "looks": found.looks,
        "failed": found.failed,
        "unattended": {"seconds": int(lasted.total_seconds()), "looks": looks, "failed": failed},
        "pages": [
            {
                "release": one.release,
                "path": one.path,
                "looks": one.looks,
                "failed": one.failed,
                "values": one.values,
                "last_failure": one.failure and {"at": answers.time(one.failure.at), "problem": one.failure.problem},
                "points": [
                    {"at": answers.time(span.at), "looks": span.looks, "failed": span.failed} for span in one.spans
                ],
            }
            for one in found.watched
        ],
    }
