"""What the shop says and guards on every answer when it is served alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from ordering import conf
from ordering.render import render_shop
from ordering.site import health

logger = logging.getLogger(__name__)

Handler = Callable[[HttpRequest], HttpResponseBase]

# No inline script or style anywhere, nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class HealthAndRelease:
    """Answers /healthz before anything else looks at the request, whatever host name a health check uses;
    names the release on every answer."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = health.answer() if request.path_info == "/healthz" else self.get_response(request)
        response["X-Release"] = conf.release()
        return response


class ContentSecurityPolicy:
    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.setdefault("Content-Security-Policy", POLICY)
        response.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response


class DatabaseTrouble:
    """A database that is locked, full, read-only or away is a 503 that says so, and nothing was half
    written."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        logger.error("The database failed %s %s: %s", request.method, request.path, error)
        text = _("Our till does not answer right now. Nothing was lost; try again in a moment.")
        if request.path.startswith(reverse("ordering:api-menu").removesuffix("menu")):
            body = {"error": {"code": "unavailable", "message": text}}
            response: HttpResponse = JsonResponse(body, status=503)
        else:
            context = {"title": _("One moment, please"), "text": text}
            response = render_shop(request, "ordering/message.html", context, status=503)
        response["Retry-After"] = "2"
        return response
