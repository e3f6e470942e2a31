"""Workflows of other engines, read and drawn before anything runs."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from rest_framework import serializers as s
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.engines.argo import cluster
from pipelines.engines.argo.importing import MAX_ONLINE, import_files
from pipelines.engines.argo.reading import MAX_FILES, Source
from teams.models import Team
from teams.policy import Action, can

from . import bodies, find, shapes
from .describe import described


class GivenFile(bodies.Body):
    name = s.CharField(max_length=300)
    text = s.CharField(max_length=MAX_ONLINE, trim_whitespace=False, allow_blank=True)


class ImportArgo(bodies.Body):
    files = s.ListField(child=GivenFile(), min_length=1, max_length=MAX_FILES)
    owners = s.CharField(max_length=MAX_ONLINE, required=False, default="", allow_blank=True, trim_whitespace=False)
    cluster = s.CharField(max_length=63, required=False, default="", allow_blank=True)
    namespace = s.CharField(max_length=63, required=False, default="default")

    def validate_files(self, files: list[dict[str, str]]) -> list[dict[str, str]]:
        if sum(len(file["text"].encode("utf-8", "replace")) for file in files) > MAX_ONLINE:
            raise s.ValidationError(f"All files together may have {MAX_ONLINE // 2**20} MiB.")
        names = [file["name"] for file in files]
        if len(names) != len(set(names)):
            raise s.ValidationError("Each file needs a name of its own.")
        return files


class ImportedFan(shapes.Shape):
    by = s.ChoiceField(["withItems", "withSequence", "withParam"])
    width = s.IntegerField(allow_null=True, help_text="null where only the run will know.")
    says = s.CharField()


class ImportedTask(shapes.Shape):
    position = s.IntegerField()
    path = s.CharField(help_text="The names from the entrypoint down.")
    name = s.CharField()
    template = s.CharField()
    does = s.CharField(help_text="The template's kind; empty where the template is not known.")
    file = s.CharField()
    line = s.IntegerField()
    column = s.IntegerField()
    within = s.IntegerField(allow_null=True)
    needs = s.ListField(child=s.IntegerField())
    condition = s.CharField()
    when = s.CharField()
    fan = ImportedFan(allow_null=True)
    role = s.ChoiceField(["", "hook", "exit"])
    on_exit = s.BooleanField()
    expression = s.CharField()
    daemon = s.BooleanField()
    suspend = s.CharField()
    retries = s.CharField()
    never = s.CharField()
    loops_to = s.IntegerField(allow_null=True)
    unknown = s.ListField(child=s.CharField(), help_text="What only the run will know, in sentences.")
    team = s.CharField()
    gate = s.DictField(child=s.IntegerField(), allow_null=True, help_text="Team to number of people.")


class ImportedGraph(shapes.Shape):
    kind = s.CharField()
    name = s.CharField()
    file = s.CharField()
    line = s.IntegerField()
    starts = s.CharField()
    tasks = ImportedTask(many=True)


class ImportProblem(shapes.Problem):
    file = s.CharField()


class Import(shapes.Shape):
    ok = s.BooleanField()
    graphs = ImportedGraph(many=True)
    problems = ImportProblem(many=True)
    notes = s.ListField(child=s.CharField())
    diffs = s.DictField(child=s.CharField(), help_text="What gates change in a workflow, by its title: unified diffs.")
    report = s.CharField(help_text="The problems as text for a terminal.")


class ArgoView(APIView):
    @described("The whole graph of workflows of Argo, and what is wrong with them", Import, body=ImportArgo)
    def post(self, request: Request) -> Response:
        asked = ImportArgo.of(request)
        if not (verdict := can(find.person(request)[1], Action.IMPORT_WORKFLOWS)):
            raise PermissionDenied(verdict.reason)
        elsewhere = None
        if asked["cluster"]:
            try:
                elsewhere = cluster.templates_of(Path(settings.HOME), asked["cluster"], asked["namespace"])
            except cluster.UnknownClusterError as error:
                raise NotFound(str(error)) from error
        owners = Source("owners.yaml", asked["owners"].encode()) if asked["owners"].strip() else None
        sources = [Source(file["name"], file["text"].encode("utf-8", "replace")) for file in asked["files"]]
        teams = set(Team.objects.values_list("slug", flat=True))
        return Response(import_files(sources, elsewhere=elsewhere, owners=owners, teams=teams).plain())
