"""Who asks: their teams, what waits for them, their tokens, and the record of what everybody did."""

from __future__ import annotations

from typing import Any

from knox.models import AuthToken
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines import inbox, selectors
from pipelines.models import Environment
from pipelines.runs import Conflict
from teams import tokens
from teams.models import Team

from . import answers, bodies, find, shapes
from .describe import described
from .may import stage_may


class MeView(APIView):
    @described("Who you are and which teams you are in", shapes.Person)
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        return Response(answers.person(*find.person(request)))


class TeamsView(APIView):
    @described("All teams", shapes.NamedTeam(many=True))
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        return Response(list(Team.objects.values("slug", "name")))


class InboxView(APIView):
    @described("What waits for you, and whom you wait for", shapes.Inbox)
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        user, actor = find.person(request)
        questions = inbox.with_blocked(inbox.open_questions())
        owners: dict[int, dict[str, str]] = {}
        for pipeline, name, owner in Environment.objects.values_list("pipeline", "name", "owner"):
            owners.setdefault(pipeline, {})[name] = owner

        def told(question: inbox.Question) -> dict[str, Any]:
            stage = question.stage
            return answers.question(
                question,
                stage_may(
                    stage,
                    user,
                    actor,
                    owners.get(stage.run.pipeline_id, {}),
                    obstacle="",
                    approved=user.pk in question.answered,
                ),
            )

        others = inbox.waits_on_others(questions, user, actor)
        mine = [told(question) for question in inbox.for_user(questions, user, actor)]
        return Response({"mine": mine, "others": {team: [told(q) for q in found] for team, found in others.items()}})


class AuditView(APIView):
    @described("What was done and refused, newest first", shapes.page_of(shapes.AuditEntry), query=bodies.AuditFilter)
    def get(self, request: Request) -> Response:
        page = selectors.audit_entries(**bodies.AuditFilter.of_query(request))
        return Response(find.paged(request, page, [answers.audit_entry(row) for row in page.rows]))


def _token(row: AuthToken, request: Request) -> dict[str, Any]:
    return {
        "id": tokens.token_id(row),
        "created": answers.time(row.created),
        "expires": answers.time(row.expiry),
        "current": isinstance(request.auth, AuthToken) and request.auth.pk == row.pk,
    }


class TokensView(APIView):
    @described("Your tokens", shapes.Token(many=True))
    def get(self, request: Request) -> Response:
        bodies.Empty.of_query(request)
        rows = AuthToken.objects.filter(user=find.person(request)[0]).order_by("-created")
        return Response([_token(row, request) for row in rows])

    @described("Make a token; it is shown this once", shapes.FreshToken, body=bodies.NewToken, status=201)
    def post(self, request: Request) -> Response:
        user = find.person(request)[0]
        days = bodies.NewToken.of(request)["days"]
        try:
            row, token = tokens.create(user=user, days=days)
        except tokens.TooMany as error:
            raise Conflict(str(error)) from error
        return Response(_token(row, request) | {"token": token}, status=201)


class TokenView(APIView):
    @described("Revoke one of your tokens", None, status=204)
    def delete(self, request: Request, token: str) -> Response:
        user = find.person(request)[0]
        if not tokens.revoke(user=user, token=token):
            raise NotFound(f"You have no token {token}.")
        return Response(status=204)
