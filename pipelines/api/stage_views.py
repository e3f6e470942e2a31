"""Stages: their plans, logs and gates, and what people do to them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import inbox, runs, selectors
from pipelines.models import Run, Stage
from pipelines.overtaken import taken_back
from pipelines.runs.questions import obstacles
from pipelines.states import ENDED

from . import answers, bodies, find, shapes
from .describe import described
from .may import stage_may
from .run_views import environment_owners


def stage_detail(run: Run, name: str, request: Request) -> dict[str, Any]:
    user, actor = find.person(request)
    row = find.stage(run, name)
    have = selectors.have_approved([row]).get(row.pk, {})
    obstacle = obstacles(run, [row]).get(row.pk, "")
    approved = bool(inbox.approved_by(user, [row]))
    may = stage_may(row, user, actor, environment_owners(run), obstacle=obstacle, approved=approved)
    warning = taken_back([row]).get(row.pk, "")
    summary = answers.stage(row, summary=(row.plan or {}).get("summary"), have=have, may=may, warning=warning)
    return answers.stage_detail(row, summary, selectors.attempts_of(row), selectors.approvals_of(row))


class StageView(APIView):
    @described("A stage: its plan, attempts, approvals and artifacts", shapes.StageDetail)
    def get(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        return Response(stage_detail(find.run(pipeline, number), stage, request))


class PlainText(BaseRenderer):
    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return str(data).encode(errors="replace")


class LogView(APIView):
    renderer_classes = [PlainText, JSONRenderer]

    def handle_exception(self, exc: Exception) -> Response:
        """Errors are JSON here too."""
        response = super().handle_exception(exc)
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return response

    @extend_schema(
        summary="A stage's log, as text or (Accept: application/json) in parts",
        parameters=[bodies.LogFilter],
        responses={
            (200, "application/json"): shapes.Log,
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR),
            404: shapes.Wrong,
        },
    )
    def get(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        asked = bodies.LogFilter.of_query(request)
        row = find.stage(find.run(pipeline, number), stage)
        if isinstance(request.accepted_renderer, PlainText):
            return Response("".join(selectors.whole_log(row)))
        return Response(_parts(row, asked["since"], asked["limit"]))


def _parts(row: Stage, since: int, limit: int) -> dict[str, Any]:
    rows = row.events.filter(kind="log", seq__gt=since).order_by("seq").values_list("seq", "attempt", "data")
    found = [{"seq": seq, "attempt": attempt, "text": data["text"]} for seq, attempt, data in rows[:limit]]
    return {
        "state": row.state,
        "parts": found,
        "next": found[-1]["seq"] if found else since,
        "complete": row.state in ENDED and len(found) < limit,
    }


class StageAction(APIView):
    """POST does one thing to a stage, and is answered with how it stands then."""

    def take(self, request: Request, pipeline: str, number: int, stage: str, body: type[bodies.Body]) -> dict[str, Any]:
        row = find.stage(find.run(pipeline, number), stage)
        return {"stage": row.pk, "user": find.person(request)[0], **body.of(request)}

    def answer(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        return Response(stage_detail(find.run(pipeline, number), stage, request))


class ApproveView(StageAction):
    @described("Approve the plan that the digest names", shapes.StageDetail, body=bodies.Approve)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.approve(**self.take(request, pipeline, number, stage, bodies.Approve))
        return self.answer(request, pipeline, number, stage)


class RejectView(StageAction):
    @described("Reject the plan that the digest names", shapes.StageDetail, body=bodies.Reject)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.reject(**self.take(request, pipeline, number, stage, bodies.Reject))
        return self.answer(request, pipeline, number, stage)


class RetryView(StageAction):
    @described("Do a stage that has ended again", shapes.StageDetail, body=bodies.Reason)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.retry(**self.take(request, pipeline, number, stage, bodies.Reason))
        return self.answer(request, pipeline, number, stage)


class SkipView(StageAction):
    @described("Go on without a stage", shapes.StageDetail, body=bodies.NeededReason)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.skip(**self.take(request, pipeline, number, stage, bodies.NeededReason))
        return self.answer(request, pipeline, number, stage)


class SteerView(StageAction):
    @described("Promote, promote fully or abort a rollout under way", shapes.StageDetail, body=bodies.Command)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.steer(**self.take(request, pipeline, number, stage, bodies.Command))
        return self.answer(request, pipeline, number, stage)


class OverrideFreezeView(StageAction):
    @described("Let a stage go on although its environment is frozen", shapes.StageDetail, body=bodies.NeededReason)
    def post(self, request: Request, pipeline: str, number: int, stage: str) -> Response:
        runs.override_freeze(**self.take(request, pipeline, number, stage, bodies.NeededReason))
        return self.answer(request, pipeline, number, stage)
