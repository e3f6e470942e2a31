"""What docs/authorization.md says about addresses is what they do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, reverse

from pipelines.models import Environment, Release
from teams.policy import Action, Subject, can
from tests.pipelines.helpers import begin

from .addresses import DEEDS, DOOR, ROOMS, routes

pytestmark = pytest.mark.django_db

NAMES = ("ann", "dora", "victor", "olga", "otto", "pete", "pia", "root")
PIPELINE = """
environments: {staging: {owner: ops}}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, environment: staging, needs: [build], gate: {teams: {ops: 1, platform: 1}}}
"""
RUN = Subject(pipeline_owner="platform", teams=frozenset({"dev", "ops"}))
SHIP = Subject(owner="ops", gate_teams=frozenset({"ops", "platform"}))
SUBJECTS = {
    "run-action": RUN,
    "start-run": RUN,
    "stage-action": SHIP,
    "roll-back": Subject(owner="ops"),
    "new-secret": Subject(pipeline_owner="platform"),
    "test-engine": Subject(),
    "clean-registry": Subject(owner="dev"),
    "import-argo": Subject(),
}
# Judged stage by stage: this run has no stage that failed, and none that publishes (tests/portal/test_registries.py).
ELSEWHERE = {("run-action", "retry-failed"), ("clean-registry", "")}


@pytest.fixture
def sites(pipeline: Any, working: Callable[[], None], cast: SimpleNamespace) -> SimpleNamespace:
    """A run at its gate, which nobody of the cast pushed, and a release."""
    run = begin(pipeline, PIPELINE, author="Nobody <nobody@example.com>")
    working()
    environment = Environment.objects.get(name="staging")
    release = Release.objects.create(environment=environment, name="r1", run=run, commit=run.commit)
    return SimpleNamespace(run=run, release=release)


def pages() -> list[URLPattern]:
    rooms = ("api/", *ROOMS)
    return [pattern for path, pattern in routes() if not path.startswith(rooms)]


def address(pattern: URLPattern, sites: SimpleNamespace, action: str = "") -> str:
    stage = sites.run.stages.get(name="ship")
    known = {
        "pipeline": "demo", "slug": "demo", "number": sites.run.number, "stage": stage.pk,
        "digest": sites.run.definition.digest.removeprefix("sha256:"), "action": action,
        "release": "r1",
    }  # fmt: skip
    known["name"] = "ship" if "stages/" in str(pattern.pattern) else "staging"
    return reverse(f"portal:{pattern.name}", kwargs={key: known[key] for key in pattern.pattern.converters})


def deeds_of(name: str) -> dict[str, Action]:
    return DEEDS.get(name, {"": Action.VIEW})


def test_the_pages_are_those_that_the_tests_know(sites):
    named = {pattern.name for pattern in pages()}
    assert set(DEEDS) | set(DOOR) <= named
    assert set(SUBJECTS) == set(DEEDS)
    for name in ("run-action", "stage-action"):
        converter = next(p for p in pages() if p.name == name).pattern.converters["action"]
        assert set(converter.regex.split("|")) == set(DEEDS[name])


@pytest.mark.parametrize("method", ["get", "post"])
def test_strangers_are_sent_to_the_door_and_outsiders_away(method, sites, cast):
    outsider = Client()
    outsider.force_login(cast.eve)
    for pattern in pages():
        if pattern.name in DOOR:
            continue
        for action in deeds_of(pattern.name):
            where = address(pattern, sites, action)
            answer = getattr(Client(), method)(where)
            assert (answer.status_code, answer["Location"][:13]) == (302, "/sign-in?next"), where
            answer = getattr(outsider, method)(where)
            assert answer.status_code == 403, where
            assert "in no team" in answer.content.decode(), where


@pytest.mark.parametrize("name", NAMES)
def test_a_page_does_what_the_policy_allows_and_nothing_else(name, sites, cast):
    user = getattr(cast, name)
    client = Client()
    client.force_login(user)
    stage = sites.run.stages.get(name="ship")
    body = {
        "reason": "a test",
        "digest": stage.plan_digest,
        "command": "abort",
        "ref": "main",
        "release": sites.release.pk,
    }
    for pattern in pages():
        for word, action in DEEDS.get(pattern.name, {}).items():
            if (pattern.name, word) in ELSEWHERE:
                continue
            with transaction.atomic():
                answer = client.post(address(pattern, sites, word), body)
                transaction.set_rollback(True)
            verdict = can(user.as_actor(), action, SUBJECTS[pattern.name])
            assert (answer.status_code == 403) == (not verdict), (pattern.name, word, answer.status_code)
            assert answer.status_code in ((200, 302, 409) if verdict else (403,)), (pattern.name, word)


def test_the_admin_pages_ask_for_staff(cast):
    client = Client()
    for user in (None, cast.pia):
        if user is not None:
            client.force_login(user)
        for path, pattern in routes():
            if (
                path.startswith("admin/")
                and not pattern.pattern.converters
                and "log" not in path
                and "jsi18n" not in path
            ):
                answer = client.get(f"/{path}")
                assert answer.status_code == 302, path
                assert "/admin/login/" in answer["Location"], path
