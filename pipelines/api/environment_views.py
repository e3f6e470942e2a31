"""Environments and their releases."""

from __future__ import annotations

from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import runs, selectors
from pipelines.engines import environments as live
from pipelines.models import Release
from teams.policy import Action, Subject, can

from . import answers, bodies, find, shapes
from .describe import described
from .run_views import run_detail


class EnvironmentsView(APIView):
    @described("All environments and what runs in them", shapes.Environment(many=True))
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        current = selectors.current_releases()
        return Response([answers.environment(row, current.get(row.pk)) for row in selectors.environments()])


class EnvironmentView(APIView):
    @described("An environment with its last releases", shapes.EnvironmentDetail)
    def get(self, request: Request, pipeline: str, name: str) -> Response:
        bodies.Empty.of_query(request)
        row = find.environment(pipeline, name)
        _, actor = find.person(request)
        releases = selectors.releases_of(row).rows
        verdict = can(actor, Action.ROLL_BACK, Subject(owner=row.owner))
        found = live.statuses([row.name])[row.name]
        return Response(
            answers.environment(row, releases[0] if releases else None)
            | {
                "live": answers.live(found),
                "releases": [answers.release(release) for release in releases],
                "may": {"roll-back": {"allowed": bool(verdict), "reason": verdict.reason}},
            }
        )


class RollBackView(APIView):
    @described("Bring a kept release back, at once", shapes.RunDetail, body=bodies.RollBack, status=201)
    def post(self, request: Request, pipeline: str, name: str) -> Response:
        row = find.environment(pipeline, name)
        asked = bodies.RollBack.of(request)
        release = Release.objects.filter(environment=row, name=asked["release"]).order_by("-id").first()
        if release is None:
            raise NotFound(f"{pipeline}/{name} has had no release {asked['release']}.")
        run = runs.roll_back(release=release.pk, user=find.person(request)[0], reason=asked["reason"])
        return Response(run_detail(find.run(pipeline, run.number), request), status=201)
