"""Clients that speak as one of the cast, and a run with a gate in each state that the tests need."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from knox.models import AuthToken
from rest_framework.test import APIClient

from pipelines.models import Environment, Release
from tests.pipelines.helpers import begin

GATED = """
environments:
  staging: {owner: ops}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: 1, platform: 1}}}
  - {name: after, kind: noop, owner: dev, needs: [ship]}
on_exit:
  - {name: report, kind: noop, owner: platform}
"""


@pytest.fixture
def speak(db: None) -> Callable[[Any], APIClient]:
    """`speak(user)` is a client with a token of that user's; `speak(None)` one without."""

    def client(user: Any) -> APIClient:
        made = APIClient()
        if user is not None:
            _, token = AuthToken.objects.create(user=user)
            made.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        return made

    return client


@pytest.fixture
def gated(pipeline: Any, working: Any, cast: SimpleNamespace) -> Any:
    """A run that waits at its gate; nobody of the cast pushed it."""
    run = begin(pipeline, GATED, author="Nobody <nobody@example.com>")
    working()
    return run


@pytest.fixture
def released(gated: Any) -> Any:
    environment = Environment.objects.get(name="staging")
    return Release.objects.create(environment=environment, name="r1", run=gated, commit=gated.commit)
