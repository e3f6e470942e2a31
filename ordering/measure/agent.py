"""The one agent of this process, made of the shop's settings when it is first needed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest

from ordering import conf
from ordering.measure import tokens
from ordering.measure.sending import Sender
from ordering.measure.tally import OTHER, Tally

BEACON_PATH = "/measure"


@dataclass(frozen=True, slots=True)
class Agent:
    """`token` is the release's."""

    token: str
    tally: Tally
    sender: Sender

    def page(self, request: HttpRequest) -> dict[str, Any]:
        """What the agent in the page is told."""
        token = tokens.of_page(self.token, route_of(request), time.time())
        return {"to": BEACON_PATH, "token": token, "sample": conf.measure_sample()}


def agent() -> Agent | None:
    """None where the shop was told of no collector."""
    url, token = conf.measure_url(), conf.measure_token()
    return _agent(url, token, conf.release()) if url and token and conf.release() else None


@cache
def _agent(url: str, token: str, release: str) -> Agent:
    tally, token = Tally(), tokens.of_release(token, release)
    return Agent(token, tally, Sender(tally, url, token))


def route_of(request: HttpRequest) -> str:
    """The name of the page, never its address."""
    match = request.resolver_match
    return (match.url_name if match else None) or OTHER
