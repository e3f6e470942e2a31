"""For pods of an engine, which act for nobody: what to do next, and the reports about one attempt.

A pod shows the token that its cluster gave it, and is given one that lets it report about that attempt alone.
"""

from __future__ import annotations

import re
from typing import Any

from django.http import FileResponse
from rest_framework.exceptions import AuthenticationFailed, NotFound, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.engines.argo import contents, desk, identity
from pipelines.runs import StaleResult

from . import bodies, shapes
from .describe import described

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PodView(APIView):
    """Whoever asks shows a token of their own in `Authorization: Bearer ...`; no person's session or token counts."""

    permission_classes = [AllowAny]
    authentication_classes = []

    def token(self, request: Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise AuthenticationFailed("A pod shows its token here.")
        return token.strip()

    def attempt(self, request: Request) -> tuple[int, int]:
        return identity.attempt_of(self.token(request))

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, identity.Stranger | AuthenticationFailed):
            return Response({"detail": str(exc)}, status=401, headers={"WWW-Authenticate": "Bearer"})
        if isinstance(exc, identity.ClusterSilent):
            return Response({"detail": str(exc)}, status=503)
        if isinstance(exc, StaleResult):
            return Response({"detail": str(exc)}, status=409)
        return super().handle_exception(exc)


class ClaimView(PodView):
    @described("What a pod shall do now", shapes.PodOrder, body=bodies.Empty)
    def post(self, request: Request) -> Response:
        bodies.Empty.of(request)
        return Response(desk.claim(identity.pod_of(self.token(request))))


class ReportsView(PodView):
    @described("Reports about an attempt, in order", shapes.Reported, body=bodies.Reports)
    def post(self, request: Request) -> Response:
        attempt = self.attempt(request)
        asked = bodies.Reports.of(request)
        try:
            return Response(desk.report(*attempt, asked["first"], asked["reports"]))
        except (KeyError, TypeError) as error:
            raise ParseError(f"A report is not as it should be: {error!r}.") from error


class WantedView(PodView):
    @described("What people want of an attempt under way", shapes.Wanted)
    def get(self, request: Request) -> Response:
        return Response(desk.look(*self.attempt(request)))


class MeasuredView(PodView):
    @described("What customers measured of a release in the attempt's environment", shapes.Reading, query=bodies.Asked)
    def get(self, request: Request) -> Response:
        attempt, asked = self.attempt(request), bodies.Asked.of_query(request)
        sources = [source for source in asked.pop("sources").split(",") if source]
        return Response(desk.measured(*attempt, sources=sources, **asked))


class Raw(BaseParser):
    """Leaves the body where it is, to be read in parts."""

    media_type = "*/*"

    def parse(self, stream: Any, *_: Any, **__: Any) -> Any:
        return stream


class StoreView(PodView):
    parser_classes = [Raw]

    @described("A content that a stage before has made", None)
    def get(self, request: Request, digest: str) -> Any:
        path = contents.readable(*self.attempt(request), _digest(digest))
        if path is None:
            raise NotFound(f"The store has no {digest} for this attempt.")
        return FileResponse(path.open("rb"), content_type="application/octet-stream")

    @described("Keep a content that this attempt made", None, status=204)
    def put(self, request: Request, digest: str) -> Response:
        attempt = self.attempt(request)
        try:
            contents.keep(*attempt, _digest(digest), request._request)
        except contents.WrongContent as error:
            raise ParseError(str(error)) from error
        return Response(status=204)


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise NotFound("A digest is sha256: and 64 hexadecimal digits.")
    return text
