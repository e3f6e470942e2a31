"""Counts requests, answers and visits, and takes what browsers report of their views."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from ordering.measure.agent import BEACON_PATH, Agent, agent, route_of

Handler = Callable[[HttpRequest], HttpResponseBase]

LARGEST_BEACON = 2048
# Whoever asks for one release measures it, and is no customer.
PROBES = "X-Burger-Release"
# Where people work who order nothing.
STAFF = ("kitchen", "staff", "sign-")


class Measured:
    """First of all middleware, so that it times the others too. Away where the shop was told of no collector."""

    def __init__(self, get_response: Handler) -> None:
        found = agent()
        if found is None:
            raise MiddlewareNotUsed
        self.agent: Agent = found
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        self.agent.sender.ensure_running()
        if request.path_info == BEACON_PATH:
            return self._beacon(request)
        began = time.perf_counter()
        response = self.get_response(request)
        if request.path_info != "/healthz" and PROBES not in request.headers:
            route = route_of(request)
            begins = begins_a_visit(request, response.status_code) and not route.startswith(STAFF)
            self.agent.tally.request(route, response.status_code, time.perf_counter() - began, visit=begins)
        return response

    def _beacon(self, request: HttpRequest) -> HttpResponse:
        """204 at once, whatever came; the collector reads it."""
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST"})
        body = request.read(LARGEST_BEACON + 1)
        if len(body) > LARGEST_BEACON:
            return HttpResponse(status=413)
        self.agent.tally.beacon(body)
        return HttpResponse(status=204)


def begins_a_visit(request: HttpRequest, status: int) -> bool:
    """Whether somebody comes from elsewhere with this request: told by what browsers say of where a navigation
    started, so that nothing has to be kept to know visitors again. Who reloads the page goes on with a visit."""
    headers = request.headers
    if request.method != "GET" or 400 <= status < 500 or "prefetch" in headers.get("Sec-Purpose", ""):
        return False
    if headers.get("Cache-Control") == "max-age=0":
        return False
    if "Sec-Fetch-Site" in headers:
        elsewhere = headers["Sec-Fetch-Site"] in ("none", "cross-site", "same-site")
        return elsewhere and headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    # Browsers say so only to sites that are served securely.
    if "text/html" not in headers.get("Accept", ""):
        return False
    return _host(headers.get("Referer", "")) != request.META.get("HTTP_HOST", "")


def _host(url: str) -> str:
    """Of an address as somebody sent it, which need not be one."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
