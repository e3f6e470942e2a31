"""Pipelines, their files, and the pushes that came in for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO, Any

from django.conf import settings
from django.urls import reverse
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import manage, runs, selectors
from pipelines.definition.parse import Result, digest_of, parse
from pipelines.definition.report import format_problems
from pipelines.definition.schema import json_schema
from pipelines.models import Beat, DefinitionVersion, Delivery, Pipeline
from pipelines.runs.accept import held_changes
from pipelines.webhooks.providers import PROVIDERS
from teams.models import Team

from . import answers, bodies, find, shapes
from .describe import described
from .may import pipeline_may


def pipeline_detail(row: Pipeline, request: Request) -> dict[str, Any]:
    _, actor = find.person(request)
    accepted = parse(row.accepted.text).definition if row.accepted else None
    teams = frozenset(stage.owner for stage in accepted.stages) if accepted else frozenset()
    may = pipeline_may(row, teams, actor)
    polled = Beat.objects.filter(name=f"poll:{row.slug}").values_list("data", flat=True).first() or {}
    hooks = [
        {"provider": name, "url": settings.PUBLIC_URL + reverse("webhooks:hook", args=[name, row.slug])}
        for name in PROVIDERS
    ]
    return answers.pipeline(row) | {
        "may": may,
        "webhooks": hooks,
        "poll_problem": polled.get("problem", ""),
        "webhook_secret": row.webhook_secret if may["manage"]["allowed"] else None,
    }


class PipelinesView(APIView):
    @described("All pipelines", shapes.Pipeline(many=True))
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        return Response([answers.pipeline(row) for row in selectors.pipelines()])

    @described("Set up a pipeline", shapes.PipelineDetail, body=bodies.NewPipeline, status=201)
    def post(self, request: Request) -> Response:
        row = manage.create(user=find.person(request)[0], **bodies.NewPipeline.of(request))
        return Response(pipeline_detail(row, request), status=201)


class PipelineView(APIView):
    @described("A pipeline", shapes.PipelineDetail)
    def get(self, request: Request, pipeline: str) -> Response:
        return Response(pipeline_detail(find.pipeline(pipeline), request))

    @described("Change some of a pipeline's fields", shapes.PipelineDetail, body=bodies.PipelineChange)
    def patch(self, request: Request, pipeline: str) -> Response:
        row = find.pipeline(pipeline)
        body = bodies.PipelineChange(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        row = manage.change(pipeline=row, user=find.person(request)[0], **body.validated_data)
        return Response(pipeline_detail(row, request))


class WebhookSecretView(APIView):
    @described("Put a new secret in the place of the webhook's", shapes.PipelineDetail, body=bodies.Empty)
    def post(self, request: Request, pipeline: str) -> Response:
        row = find.pipeline(pipeline)
        bodies.Empty.of(request)
        row = manage.new_webhook_secret(pipeline=row, user=find.person(request)[0])
        return Response(pipeline_detail(row, request))


class StartView(APIView):
    @described("Ask for a run of a ref, or of one commit of it", shapes.Delivery, body=bodies.Start, status=202)
    def post(self, request: Request, pipeline: str) -> Response:
        row = find.pipeline(pipeline)
        delivery = runs.request(pipeline=row, user=find.person(request)[0], **bodies.Start.of(request))
        return Response(answers.delivery(delivery), status=202)


class DeliveryView(APIView):
    @described("A push that came in, and its run as soon as there is one", shapes.Delivery)
    def get(self, request: Request, delivery: int) -> Response:
        bodies.Empty.of_query(request)
        row = Delivery.objects.select_related("pipeline", "run__pipeline").filter(pk=min(delivery, 2**62)).first()
        if row is None:
            raise NotFound(f"There is no delivery {delivery}.")
        return Response(answers.delivery(row))


# --- pipeline files -------------------------------------------------------------------------------


class RawText(BaseParser):
    """A pipeline file sent as it is."""

    media_type = "text/*"

    def parse(self, stream: IO[bytes], *_: Any, **__: Any) -> dict[str, str]:
        try:
            return {"text": stream.read().decode()}
        except UnicodeDecodeError:
            raise ParseError("The file is no text in UTF-8.") from None


class RawYaml(RawText):
    media_type = "application/yaml"


def _linted(result: Result, text: str, filename: str) -> dict[str, Any]:
    return {
        "ok": not result.problems,
        "digest": digest_of(text),
        "stages": len(result.definition.stages) if result.definition else 0,
        "problems": [asdict(problem) for problem in result.problems],
        "report": format_problems(result.problems, filename, text),
    }


def _parse(text: str) -> Result:
    return parse(text, teams=set(Team.objects.values_list("slug", flat=True)))


class LintView(APIView):
    parser_classes = [JSONParser, RawText, RawYaml]

    @described("All problems of a pipeline file", shapes.Lint, body=bodies.Text)
    def post(self, request: Request) -> Response:
        text = bodies.Text.of(request)["text"]
        return Response(_linted(_parse(text), text, "pipeline.yaml"))


class PipelineLintView(APIView):
    parser_classes = [JSONParser, RawText, RawYaml]

    @described("As lint, and which changes a present owner has to approve", shapes.PipelineLint, body=bodies.Text)
    def post(self, request: Request, pipeline: str) -> Response:
        row = find.pipeline(pipeline)
        text = bodies.Text.of(request)["text"]
        result = _parse(text)
        accepted = parse(row.accepted.text).definition if row.accepted else None
        new = result.definition
        held = held_changes(row, accepted, new, on_default_branch=True) if new else ()
        answer = _linted(result, text, row.definition_path)
        return Response(answer | {"held": [asdict(change) for change in held]})


def _definition(row: DefinitionVersion) -> dict[str, Any]:
    return {
        "digest": row.digest,
        "commit": row.commit,
        "first_seen": answers.time(row.first_seen),
        "accepted_at": answers.time(row.accepted_at),
    }


class DefinitionsView(APIView):
    @described(
        "The versions of the pipeline file",
        shapes.page_of(shapes.Definition),
        query=bodies.Paging,
        name="pipelines_definitions_list",
    )
    def get(self, request: Request, pipeline: str) -> Response:
        asked = bodies.Paging.of_query(request)
        page = selectors.definitions_of(find.pipeline(pipeline), **asked)
        return Response(find.paged(request, page, [_definition(row) for row in page.rows]))


class DefinitionView(APIView):
    @described("One version of the pipeline file", shapes.DefinitionDetail)
    def get(self, request: Request, pipeline: str, digest: str) -> Response:
        bodies.Empty.of_query(request)
        try:
            row = selectors.get_definition(find.pipeline(pipeline), digest.replace("\0", ""))
        except DefinitionVersion.DoesNotExist:
            raise NotFound("There is no such version; a digest is sha256: and 64 hex digits.") from None
        return Response(_definition(row) | {"text": row.text})


class SchemaView(APIView):
    permission_classes = [AllowAny]
    authentication_classes = []

    @described("The JSON Schema of pipeline files", {"type": "object"})
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        return Response(json_schema(), headers={"Cache-Control": "public, max-age=300"})
