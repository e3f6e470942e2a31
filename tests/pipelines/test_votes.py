"""Whose approvals count: those of people who still work in the team that they spoke for, until the gate is open."""

from __future__ import annotations

import pytest
from django.test import Client
from knox.models import AuthToken

from pipelines import inbox, runs, selectors
from pipelines.models import Approval, Environment
from teams.models import Membership, User
from teams.policy import Actor, Role, still_counts

from .helpers import begin, stage

pytestmark = pytest.mark.django_db

GATED = "stages: [{name: ship, kind: command, owner: ops, gate: {teams: {ops: 2}}, with: {command: [x]}}]"
LEFT = {
    "the team": lambda user: Membership.objects.filter(user=user).delete(),
    "the firm": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "the work": lambda user: Membership.objects.filter(user=user).update(role="viewer"),
}


@pytest.fixture
def asking(pipeline, working, scripts, cast):
    """A stage that needs two of ops, of whom olga has approved."""
    run = begin(pipeline, GATED)
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    return stage(run, "ship")


@pytest.mark.parametrize("how", LEFT)
def test_who_has_left_does_not_count_towards_a_gate_that_is_not_open(asking, cast, how):
    LEFT[how](cast.olga)
    assert selectors.have_approved([asking]) == {}
    runs.approve(stage=asking.pk, user=cast.otto, digest=asking.plan_digest)
    now = stage(asking.run, "ship")
    assert (now.state, now.reason_code) == ("waiting", "approval")
    assert selectors.have_approved([now]) == {now.pk: {"ops": 1}}
    assert "olga" in Approval.objects.get(user=cast.olga).voided


def test_a_stage_names_only_those_who_are_still_missing(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED.replace("{ops: 2}", "[dev, ops, platform]"))
    working()
    ship = stage(run, "ship")
    assert ship.reason == "waiting for dev and ops and platform to approve its plan"
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    assert stage(run, "ship").reason == "waiting for dev and platform to approve its plan"
    runs.approve(stage=ship.pk, user=cast.pete, digest=ship.plan_digest)
    now = stage(run, "ship")
    assert (now.reason, now.due_at) == ("waiting for dev to approve its plan", ship.due_at)
    runs.approve(stage=ship.pk, user=cast.dora, digest=ship.plan_digest)
    assert stage(run, "ship").state == "queued"


def test_who_comes_back_after_others_have_decided_is_asked_again(asking, cast):
    Membership.objects.filter(user=cast.olga).delete()
    runs.approve(stage=asking.pk, user=cast.otto, digest=asking.plan_digest)
    Membership.objects.create(user=cast.olga, team=cast.teams["ops"], role="member")
    assert stage(asking.run, "ship").state == "waiting"
    runs.approve(stage=asking.pk, user=User.objects.get(pk=cast.olga.pk), digest=asking.plan_digest)
    assert stage(asking.run, "ship").state == "queued"


def test_who_moved_to_another_team_that_is_asked_speaks_for_that_one(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED.replace("ops: 2", "ops: 1, dev: 1"))
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    Membership.objects.filter(user=cast.olga).update(team=cast.teams["dev"])
    runs.approve(stage=ship.pk, user=User.objects.get(pk=cast.olga.pk), digest=ship.plan_digest)
    assert selectors.have_approved([stage(run, "ship")]) == {ship.pk: {"dev": 1}}


def test_a_gate_that_was_opened_stays_open(pipeline, working, cast, scripts):
    """Whoever leaves while the approved stage waits for its environment takes nothing back."""
    text = """
environments: {production: {owner: ops}}
stages:
  - {name: ship, kind: command, owner: ops, environment: production, gate: ops, with: {command: [x]}}
"""
    run, other = begin(pipeline, text), begin(pipeline, text)
    working()
    Environment.objects.update(holder=other)
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    assert stage(run, "ship").reason_code == "lock"
    Membership.objects.filter(user=cast.olga).delete()
    runs.advance(run.pk)
    assert stage(run, "ship").reason_code == "lock"
    assert selectors.have_approved([stage(run, "ship")]) == {ship.pk: {"ops": 1}}
    Environment.objects.update(holder=None)
    runs.advance(run.pk)
    assert stage(run, "ship").state == "queued"


def test_page_and_api_say_that_it_does_not_count(asking, cast):
    Membership.objects.filter(user=cast.olga).delete()
    words = "olga does not work in ops any more"
    question = inbox.questions_of([asking])[0]
    assert (question.left, dict(question.have), question.answered) == ((words,), {}, frozenset())
    client = Client()
    client.force_login(cast.otto)
    address = f"/runs/demo/{asking.run.number}"
    assert f"{words}; that approval does not count." in client.get(f"{address}?stage=ship&tab=plan").content.decode()
    told = client.get(f"{address}?stage=ship&tab=decisions").content.decode()
    assert f"It does not count any more: {words}" in told
    _, token = AuthToken.objects.create(user=cast.otto)
    answer = Client(headers={"Authorization": f"Bearer {token}"}).get(f"/api{address}/stages/ship").json()
    assert [one["voided"] for one in answer["approvals"]] == [words]
    assert answer["gate"]["teams"] == [{"team": "ops", "quorum": 2, "approved": 0}]


@pytest.mark.parametrize(
    ("actor", "counts"),
    [
        (Actor("ann", {"dev": Role.MEMBER}), True),
        (Actor("ann", {"dev": Role.LEAD}), True),
        (Actor("ann", {"dev": Role.VIEWER}), False),
        (Actor("ann", {"ops": Role.LEAD}), False),
        (Actor("ann", {"dev": Role.LEAD}, is_active=False), False),
        (Actor("ann", {}, is_admin=True), False),
    ],
)
def test_the_judge_of_it(actor, counts):
    verdict = still_counts(actor, "dev")
    assert bool(verdict) == counts
    assert "ann" in verdict.reason
