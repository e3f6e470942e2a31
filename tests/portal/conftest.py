"""People signed in, and runs to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from pipelines.models import Run
from tests.pipelines.helpers import begin

PIPELINE = """
environments: {production: {owner: ops}}
stages:
  - {name: build, title: Build it, kind: noop, owner: dev}
  - {name: ship, title: Ship it, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: 1, platform: 1}}}
  - {name: after, title: Tidy up, kind: noop, owner: dev, environment: production, needs: [ship]}
"""


@pytest.fixture
def sign_in(cast: Any) -> Callable[[str], Client]:
    def as_person(name: str) -> Client:
        client = Client()
        client.force_login(getattr(cast, name))
        return client

    return as_person


@pytest.fixture
def waiting(pipeline: Any, cast: Any, working: Any) -> Run:
    """A run of ann's that waits at its gate."""
    run = begin(pipeline, PIPELINE, requested_by=cast.ann, subject="Sell more", author="Ann <ann@example.com>")
    working()
    run.refresh_from_db()
    return run
