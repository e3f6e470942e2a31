"""The one judge: a sentence for each thing that is allowed, and everything else denied."""

from __future__ import annotations

import itertools

import pytest

from teams.policy import ANONYMOUS, Action, Actor, Role, Subject, can

OPS_STAGE = Subject(
    owner="ops", pipeline_owner="platform", teams=frozenset({"dev", "ops", "platform"}), gate_teams=frozenset({"ops"})
)


def person(team: str, role: Role = Role.MEMBER, **more: bool) -> Actor:
    return Actor(username="someone", roles={team: role}, **more)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    "actor",
    [ANONYMOUS, Actor(username="eve"), Actor(username="gone", roles={"ops": Role.LEAD}, is_active=False)],
    ids=["anonymous", "in no team", "not active"],
)
def test_nothing_is_allowed_to_those_who_are_nobody_here(actor, action):
    assert not can(actor, action, OPS_STAGE)


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.VIEW])
def test_a_viewer_may_only_look(action):
    assert not can(person("ops", Role.VIEWER), action, OPS_STAGE)
    assert can(person("ops", Role.VIEWER), Action.VIEW, OPS_STAGE)


OWNERS_ONLY = (Action.RETRY, Action.SKIP, Action.STEER, Action.ROLL_BACK)


@pytest.mark.parametrize(("action", "team"), list(itertools.product(OWNERS_ONLY, ("dev", "ops", "platform"))))
def test_a_stage_is_its_owners(action, team):
    assert bool(can(person(team, Role.LEAD), action, OPS_STAGE)) is (team == "ops")


def test_a_gate_asks_its_teams_alone_even_of_the_owner():
    subject = Subject(owner="ops", gate_teams=frozenset({"platform"}))
    assert not can(person("ops"), Action.APPROVE, subject)
    assert can(person("platform"), Action.APPROVE, subject)


def test_who_pushed_does_not_approve_unless_the_gate_says_so():
    mine = Subject(owner="ops", gate_teams=frozenset({"ops"}), requested_by_actor=True)
    own = Subject(owner="ops", gate_teams=frozenset({"ops"}), requested_by_actor=True, self_approval=True)
    assert not can(person("ops"), Action.APPROVE, mine)
    assert can(person("ops"), Action.REJECT, mine)
    assert can(person("ops"), Action.APPROVE, own)


def test_an_administrator_runs_the_place_but_does_not_speak_for_teams():
    admin = Actor(username="root", is_admin=True)
    allowed = {action for action in Action if can(admin, action, OPS_STAGE)}
    running = {Action.MANAGE_PIPELINE, Action.TEST_ENGINES, Action.IMPORT_WORKFLOWS}
    assert allowed == {Action.VIEW, *running}


def test_engines_are_tested_by_whoever_works_in_a_team():
    assert can(person("dev"), Action.TEST_ENGINES)
    assert not can(person("dev", Role.VIEWER), Action.TEST_ENGINES)


def test_a_freeze_is_overridden_by_a_lead_of_the_environments_owner():
    assert can(person("ops", Role.LEAD), Action.OVERRIDE_FREEZE, OPS_STAGE)
    assert not can(person("ops"), Action.OVERRIDE_FREEZE, OPS_STAGE)
    assert not can(person("platform", Role.LEAD), Action.OVERRIDE_FREEZE, OPS_STAGE)


def test_terminate_is_for_the_owner_of_the_pipeline():
    assert can(person("platform"), Action.TERMINATE, OPS_STAGE)
    assert not can(person("ops", Role.LEAD), Action.TERMINATE, OPS_STAGE)


def test_every_refusal_says_why():
    for action in Action:
        verdict = can(person("nowhere"), action, OPS_STAGE)
        assert verdict.reason.endswith(".")
