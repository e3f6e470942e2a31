"""Workflows of other engines, read and drawn before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from rest_framework import serializers as s
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import runs
from pipelines.engines.argo import cluster, submitting
from pipelines.engines.argo.chosen import AdoptError
from pipelines.engines.argo.convert import Wish, convert_files
from pipelines.engines.argo.importing import MAX_ONLINE, import_files
from pipelines.engines.argo.reading import MAX_FILES, Source
from pipelines.engines.argo.resolve import Elsewhere
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


class ConvertArgo(ImportArgo):
    place = s.CharField(max_length=63, help_text="Where its stages run: a workflow place of connections.yaml.")
    path = s.CharField(max_length=300, help_text="The workflow's file in the repository.")
    owner = s.CharField(max_length=39, required=False, default="", allow_blank=True)
    workflow = s.CharField(max_length=300, required=False, default="", allow_blank=True)


class ConvertedWorkflow(shapes.Shape):
    pipeline = s.CharField(help_text="A pipeline file.")
    lost = s.ListField(child=s.CharField(), help_text="What it does not say, or says in another way, in sentences.")


class ConvertView(APIView):
    @described("A workflow of Argo as a pipeline file", ConvertedWorkflow, body=ConvertArgo)
    def post(self, request: Request) -> Response:
        asked = ConvertArgo.of(request)
        _judge(request)
        wish = Wish(asked["place"], asked["path"], asked["owner"])
        try:
            found = convert_files(
                _sources(asked), wish, owners=_owners(asked), teams=_teams(), elsewhere=_elsewhere(asked),
                document=asked["workflow"],
            )  # fmt: skip
        except AdoptError as error:
            raise ValidationError({"files": [str(error), *filter(None, [error.report])]}) from error
        return Response({"pipeline": found.text, "lost": list(found.lost)})


def _judge(request: Request) -> None:
    if not (verdict := can(find.person(request)[1], Action.IMPORT_WORKFLOWS)):
        raise PermissionDenied(verdict.reason)


def _sources(asked: dict[str, Any]) -> list[Source]:
    return [Source(file["name"], file["text"].encode("utf-8", "replace")) for file in asked["files"]]


def _owners(asked: dict[str, Any]) -> Source | None:
    return Source("owners.yaml", asked["owners"].encode()) if asked["owners"].strip() else None


def _teams() -> set[str]:
    return set(Team.objects.values_list("slug", flat=True))


def _elsewhere(asked: dict[str, Any]) -> Elsewhere | None:
    if not asked["cluster"]:
        return None
    try:
        return cluster.templates_of(Path(settings.HOME), asked["cluster"], asked["namespace"])
    except cluster.UnknownClusterError as error:
        raise NotFound(str(error)) from error


class ArgoView(APIView):
    @described("The whole graph of workflows of Argo, and what is wrong with them", Import, body=ImportArgo)
    def post(self, request: Request) -> Response:
        asked = ImportArgo.of(request)
        _judge(request)
        found = import_files(_sources(asked), elsewhere=_elsewhere(asked), owners=_owners(asked), teams=_teams())
        return Response(found.plain())


class SubmitWorkflow(ImportArgo):
    owners = s.CharField(max_length=MAX_ONLINE, trim_whitespace=False)
    place = s.CharField(max_length=63, help_text="Where it runs: a workflow place of connections.yaml.")
    workflow = s.CharField(max_length=300, required=False, default="", allow_blank=True)
    dry_run = s.BooleanField(required=False, default=False, help_text="Only say what would be submitted.")


class SubmittedStage(shapes.Shape):
    name = s.CharField()
    kind = s.CharField()
    owner = s.CharField()
    gate = s.DictField(child=s.IntegerField(), allow_null=True, help_text="Team to number of people.")


class Submitted(shapes.Shape):
    run = s.CharField(allow_null=True, help_text="PIPELINE/NUMBER; null after a dry run.")
    title = s.CharField()
    diff = s.CharField(help_text="What gates change in it, a unified diff.")
    notes = s.ListField(child=s.CharField())
    stages = SubmittedStage(many=True)


class SubmitView(APIView):
    @described("Submit a workflow of Argo with its gates, as a run", Submitted, body=SubmitWorkflow)
    def post(self, request: Request, pipeline: str) -> Response:
        user, _ = find.person(request)
        row = find.pipeline(pipeline)
        submitting.may_submit(row, user)
        asked = SubmitWorkflow.of(request)
        order = submitting.Order(
            _sources(asked), Source("owners.yaml", asked["owners"].encode()), asked["place"], asked["workflow"]
        )
        try:
            found, _ = submitting.prepare(order)
            run = None if asked["dry_run"] else submitting.submit(pipeline=row, user=user, order=order)
        except AdoptError as error:
            if error.report:
                raise ValidationError({"files": [str(error), error.report]}) from error
            raise runs.Conflict(str(error)) from error
        stages = [
            {
                "name": one.name, "kind": one.kind, "owner": one.owner,
                "gate": {team.team: team.quorum for team in one.gate.teams} if one.gate else None,
            }
            for one in found.stages
        ]  # fmt: skip
        return Response(
            {
                "run": f"{row.slug}/{run.number}" if run else None,
                "title": found.title,
                "diff": found.woven.diff,
                "notes": list(found.woven.notes),
                "stages": stages,
            }
        )
