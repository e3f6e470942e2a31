"""What may be deleted in registries, and deleting exactly that."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.engines import registry_cleaning

from . import bodies, find, shapes
from .describe import described


class RegistriesView(APIView):
    @described("The stages that publish images, and where to", shapes.Publishers)
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        return Response({"registries": [asdict(row) for row in registry_cleaning.publishers()]})


class RegistryPlanView(APIView):
    @described("What a registry needs no more, and why the rest stays", shapes.RetentionPlan, body=bodies.RegistryPlan)
    def post(self, request: Request) -> Response:
        asked = bodies.RegistryPlan.of(request)
        return Response(registry_cleaning.show(user=find.person(request)[0], **asked).as_dict())


class CleanRegistryView(APIView):
    @described("Delete exactly what a plan says", shapes.Cleaned, body=bodies.CleanRegistry)
    def post(self, request: Request) -> Response:
        asked = bodies.CleanRegistry.of(request)
        deleted, problem = registry_cleaning.cleaned(user=find.person(request)[0], **asked)
        return Response({"deleted": deleted, "problem": problem})
