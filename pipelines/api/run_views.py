"""Runs, their events, and what people do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import inbox, runs, selectors
from pipelines.models import Environment, Run, Stage
from pipelines.overtaken import taken_back
from pipelines.runs.questions import obstacles
from pipelines.sentences import Now
from pipelines.states import ACTIVE

from . import answers, bodies, find, shapes
from .describe import described
from .may import run_may, stage_may

MOST = bodies.MOST_STAGES


def run_detail(row: Run, request: Request, stages_from: int = 0, stages_limit: int = MOST) -> dict[str, Any]:
    """The run with a page of its stages; a fixed number of queries, however many they are. Of the others only those are
    read with everything that the sentence of what happens now may name."""
    user, actor = find.person(request)
    glances = selectors.glances_of(row)
    page = [one.pk for one in glances[stages_from : stages_from + stages_limit]]
    told, bad = selectors.told_of(glances), selectors.retriable_of(glances)
    full = {stage.pk: stage for stage in selectors.stages_of(row, {*page, *told, *bad})}
    known = _answers(row, [full[pk] for pk in {*page, *told}], request)
    owners = frozenset(one.owner for one in glances)
    leaving = [one.name for one in glances if one.on_exit and one.state in ACTIVE]
    may = run_may(row, owners, [full[pk] for pk in bad], leaving, user, actor)
    end = stages_from + len(page)
    return answers.run_detail(row, [_now(one, full, known) for one in glances], may) | {
        "stages": [known[pk] for pk in page],
        "stages_count": len(glances),
        "stages_next": end if end < len(glances) else None,
    }


def _now(one: selectors.Glance, full: Mapping[int, Stage], known: Mapping[int, dict[str, Any]]) -> Now:
    stage = full.get(one.pk)
    if stage is None or one.pk not in known:
        return Now(title="", state=one.state, code=one.code)
    return answers.now(stage, known[one.pk])


def _answers(row: Run, stages: Sequence[Stage], request: Request) -> dict[int, dict[str, Any]]:
    """What is answered about these stages of one run, by their keys."""
    user, actor = find.person(request)
    have = selectors.have_approved(stages)
    planned = Stage.objects.filter(pk__in=[stage.pk for stage in stages]).exclude(plan=None)
    summaries = dict(planned.values_list("pk", "plan__summary"))
    owners = environment_owners(row)
    approved = inbox.approved_by(user, stages)
    warnings, against = taken_back(stages), obstacles(row, stages)
    return {
        stage.pk: answers.stage(
            stage,
            summary=summaries.get(stage.pk),
            have=have.get(stage.pk, {}),
            may=stage_may(
                stage, user, actor, owners, obstacle=against.get(stage.pk, ""), approved=stage.pk in approved
            ),
            warning=warnings.get(stage.pk, ""),
        )
        for stage in stages
    }


def environment_owners(row: Run) -> dict[str, str]:
    return dict(Environment.objects.filter(pipeline=row.pipeline_id).values_list("name", "owner"))


class RunsView(APIView):
    @described("Runs, newest first", shapes.page_of(shapes.Run), query=bodies.RunFilter, name="runs_list")
    def get(self, request: Request) -> Response:
        page = selectors.run_list(**bodies.RunFilter.of_query(request))
        return Response(find.paged(request, page, [answers.run(row) for row in page.rows]))


class RunView(APIView):
    @described("A run and its stages, and what you may do", shapes.RunDetail, query=bodies.StagePage)
    def get(self, request: Request, pipeline: str, number: int) -> Response:
        return Response(run_detail(find.run(pipeline, number), request, **bodies.StagePage.of_query(request)))


class EventsView(APIView):
    @described("What happened in a run, in order", shapes.Events, query=bodies.EventFilter)
    def get(self, request: Request, pipeline: str, number: int) -> Response:
        """Answers 304 to `If-None-Match` while nothing new has happened."""
        asked = bodies.EventFilter.of_query(request)
        run = find.run(pipeline, number)
        tag = f'"{run.pk}-{run.last_seq}-{run.state}"'
        if request.headers.get("If-None-Match") == tag:
            return Response(status=304, headers={"ETag": tag})
        # What has come since the run was read belongs to the next answer, whose `since` is this one's `next`.
        rows = run.events.filter(seq__gt=asked["since"], seq__lte=run.last_seq).order_by("seq")
        if asked["kinds"]:
            rows = rows.filter(kind__in=asked["kinds"].split(","))
        found = list(rows[: asked["limit"]])
        names = dict(run.stages.values_list("pk", "name")) if found else {}
        full = len(found) == asked["limit"]
        body = {
            "state": run.state,
            "last_seq": run.last_seq,
            "events": [answers.event(row, names) for row in found],
            "next": found[-1].seq if full else max(run.last_seq, asked["since"]),
        }
        # A page that is cut off must be asked for again, whether or not something happens.
        return Response(body, headers={} if full else {"ETag": tag})


class RunAction(APIView):
    """POST does one thing to a run, and is answered with how it stands then."""

    def take(self, request: Request, pipeline: str, number: int, body: type[bodies.Body]) -> dict[str, Any]:
        row = find.run(pipeline, number)
        return {"run": row.pk, "user": find.person(request)[0], **body.of(request)}

    def answer(self, request: Request, pipeline: str, number: int) -> Response:
        return Response(run_detail(find.run(pipeline, number), request))


class CancelView(RunAction):
    @described("Stop a run; its exit stages still run", shapes.RunDetail, body=bodies.Reason)
    def post(self, request: Request, pipeline: str, number: int) -> Response:
        runs.cancel(**self.take(request, pipeline, number, bodies.Reason))
        return self.answer(request, pipeline, number)


class TerminateView(RunAction):
    @described("Stop a run at once, without its exit stages", shapes.RunDetail, body=bodies.NeededReason)
    def post(self, request: Request, pipeline: str, number: int) -> Response:
        runs.terminate(**self.take(request, pipeline, number, bodies.NeededReason))
        return self.answer(request, pipeline, number)


class RetryFailedView(RunAction):
    @described("Do again what failed, in the same run", shapes.RunDetail, body=bodies.Reason)
    def post(self, request: Request, pipeline: str, number: int) -> Response:
        runs.retry_failed(**self.take(request, pipeline, number, bodies.Reason))
        return self.answer(request, pipeline, number)


class AdoptView(RunAction):
    @described("Make the gates of a watched Workflow the portal's", shapes.RunDetail, body=bodies.Reason)
    def post(self, request: Request, pipeline: str, number: int) -> Response:
        runs.adopt(**self.take(request, pipeline, number, bodies.Reason))
        return self.answer(request, pipeline, number)


class RerunView(RunAction):
    @described("Run the same commit again, as a new run", shapes.Delivery, body=bodies.Empty, status=202)
    def post(self, request: Request, pipeline: str, number: int) -> Response:
        delivery = runs.rerun(**self.take(request, pipeline, number, bodies.Empty))
        return Response(answers.delivery(delivery), status=202)
