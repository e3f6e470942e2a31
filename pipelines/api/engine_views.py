"""Docker Engine, registries and clusters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from django.conf import settings
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.engines import connections
from teams.policy import Action, can

from . import bodies, find, shapes
from .describe import described


class EnginesView(APIView):
    @described("What the work is done with, as connections.yaml names it", shapes.Engines)
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        rows, problem = connections.listed(Path(settings.HOME))
        return Response({"engines": [asdict(row) for row in rows], "problem": problem})


class TestView(APIView):
    @described("Test one of them now", shapes.EngineFinding, body=bodies.TestEngine)
    def post(self, request: Request) -> Response:
        asked = bodies.TestEngine.of(request)
        if not (verdict := can(find.person(request)[1], Action.TEST_ENGINES)):
            raise PermissionDenied(verdict.reason)
        try:
            found = connections.tested(Path(settings.HOME), asked["kind"], asked["name"])
        except connections.UnknownConnection as error:
            raise NotFound(str(error)) from error
        return Response(asdict(found))
