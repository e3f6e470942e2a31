"""Around every request: a database that cannot answer is a clear 503, and pages run no code but ours."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.decorators import sync_only_middleware
from django.views import defaults

from pipelines.outages import is_outage
from portal.visible import in_page

log = logging.getLogger(__name__)

_CAUSES = {
    "locked": "it is locked",
    "full": "the disk is full",
    "readonly": "it is read-only",
    "read-only": "it is read-only",
    "disk i/o": "its disk cannot be written",
}
_SENTENCE = "The database cannot be used right now ({why}). Nothing was changed; try again in a moment."


@sync_only_middleware
def unavailable(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer 503 when the database is locked, full or read-only. The view's transaction has been rolled back."""

    def middleware(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    def process_exception(request: HttpRequest, error: Exception) -> HttpResponse | None:
        return answer(request, error)

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


def answer(request: HttpRequest, error: Exception) -> HttpResponse | None:
    if not is_outage(error):
        return None
    log.error("The database cannot be used: %s", error)
    connections.close_all()
    sentence = _SENTENCE.format(why=_why(error))
    if _is_program(request):
        response: HttpResponse = JsonResponse({"detail": sentence}, status=503)
    else:
        response = HttpResponse(render_to_string("503.html", {"sentence": sentence}), status=503)
    response["Retry-After"] = "2"
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """What is around the views, such as keeping the session, meets the same outages: Django asks here what to say."""
    error = sys.exc_info()[1]
    found = answer(request, error) if isinstance(error, Exception) else None
    return found or defaults.server_error(request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Says what was looked for, in words of ours: an address that no route knows comes with the routes that were
    tried."""
    (told,) = exception.args[:1] or ("",)
    sentence = told if isinstance(told, str) and told else f"The portal has nothing at {request.path[:200]}."
    if _is_program(request):
        return JsonResponse({"detail": f"{sentence} All addresses of the API are at /api/docs."}, status=404)
    return HttpResponse(render_to_string("404.html", {"sentence": sentence}, request), status=404)


def _is_program(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", "/hooks/"))


def _why(error: Exception) -> str:
    """A known cause in our words; a driver's own message may hold an address."""
    text = str(error).lower()
    for sign, words in _CAUSES.items():
        if sign in text:
            return words
    return "it does not answer"


def under_its_own_host(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Pages are shown under the portal's own host, never under the one that releases are reached under: a release gets
    every cookie of its host. Programs use no cookies."""

    def middleware(request: HttpRequest) -> HttpResponse:
        host = urlsplit(f"//{request.get_host()}").hostname
        if host != settings.ENVIRONMENT_HOST or host == settings.PORTAL_HOST:
            return get_response(request)
        if _is_program(request):
            return get_response(request)
        status = 302 if request.method in ("GET", "HEAD") else 307
        return HttpResponse(status=status, headers={"Location": settings.PUBLIC_URL + request.get_full_path()})

    return middleware


def nothing_hidden(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """On the portal's own pages, what cannot be seen in a text of anybody is shown: people decide by what they read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        match = request.resolver_match
        is_page = response.get("Content-Type", "").startswith("text/html") and not response.streaming
        if is_page and match is not None and "portal" in match.app_names:
            html = response.content.decode(response.charset)
            if (shown := in_page(html)) is not html:
                response.content = shown.encode(response.charset)
        return response

    return middleware


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    policy = (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return middleware
