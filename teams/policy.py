"""Who may do what: the one judge, pure. Everything is denied unless a line in here allows it.

Pages, API, sockets and the command line all come here through `pipelines.runs` and its neighbours. The matrix in
docs/authorization.md is generated from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    MEMBER = "member"
    LEAD = "lead"


class Action(StrEnum):
    VIEW = "view"
    START = "start"
    APPROVE = "approve"
    REJECT = "reject"
    RETRY = "retry"
    SKIP = "skip"
    STEER = "steer"  # promote, promote fully or abort a rollout that is under way
    CANCEL = "cancel"
    TERMINATE = "terminate"
    ROLL_BACK = "roll-back"
    OVERRIDE_FREEZE = "override-freeze"
    MANAGE_PIPELINE = "manage-pipeline"
    CLEAN_REGISTRY = "clean-registry"
    TEST_ENGINES = "test-engines"
    IMPORT_WORKFLOWS = "import-workflows"


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in person or program; `roles` maps a team's slug to the role in it."""

    username: str
    roles: Mapping[str, Role] = field(default_factory=dict)
    is_admin: bool = False
    is_active: bool = True

    def works_in(self, team: str | None) -> bool:
        return team is not None and self.roles.get(team) in (Role.MEMBER, Role.LEAD)

    def leads(self, team: str | None) -> bool:
        return team is not None and self.roles.get(team) is Role.LEAD


ANONYMOUS = Actor(username="", is_active=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is acted upon: a team, a pipeline, a run, a stage or an environment, each field where it applies.

    `owner` owns the stage, the environment or the pipeline itself. `teams` are all teams that own something in the
    pipeline. `gate_teams` are the teams that a stage waits for. `requested_by_actor` is true when the actor pushed
    or requested the run.
    """

    owner: str | None = None
    pipeline_owner: str | None = None
    teams: frozenset[str] = frozenset()
    gate_teams: frozenset[str] = frozenset()
    requested_by_actor: bool = False
    self_approval: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    reason: str

    def __bool__(self) -> bool:
        return self.allowed


def _allow(reason: str) -> Verdict:
    return Verdict(True, reason)


def _deny(reason: str) -> Verdict:
    return Verdict(False, reason)


def can(actor: Actor, action: Action, subject: Subject = Subject()) -> Verdict:
    """Judge one action. The reason is a sentence that can be shown to the actor."""
    if not actor.is_active or not actor.username:
        return _deny("Sign in first.")
    if not actor.roles and not actor.is_admin:
        return _deny("You are in no team. Ask an administrator to add you to one.")
    return _RULES[action](actor, subject)


def still_counts(actor: Actor, team: str) -> Verdict:
    """Whether what this person said for a team at a gate counts while that gate is not open yet: it is the team's word,
    so it goes when the person does."""
    if not actor.is_active:
        return _deny(f"{actor.username} has left")
    if not actor.works_in(team):
        return _deny(f"{actor.username} does not work in {team} any more")
    return _allow(f"{actor.username} works in {team}")


def _view(actor: Actor, _: Subject) -> Verdict:
    return _allow("Every member of a team may look.")


def _start(actor: Actor, subject: Subject) -> Verdict:
    if any(actor.works_in(team) for team in subject.teams | {subject.pipeline_owner}):
        return _allow("You work in a team that owns a part of this pipeline.")
    return _deny(f"Only members of {_names(_all_teams(subject))} may start this pipeline.")


def _gate(actor: Actor, subject: Subject, verb: str) -> Verdict:
    if not any(actor.works_in(team) for team in subject.gate_teams):
        return _deny(f"Only members of {_names(subject.gate_teams)} may {verb} this stage.")
    return _allow("You work in a team that this gate waits for.")


def _approve(actor: Actor, subject: Subject) -> Verdict:
    verdict = _gate(actor, subject, "approve")
    if verdict and subject.requested_by_actor and not subject.self_approval:
        return _deny("You pushed or requested this run, so somebody else has to approve it.")
    return verdict


def _reject(actor: Actor, subject: Subject) -> Verdict:
    return _gate(actor, subject, "reject")


def _owner_only(actor: Actor, subject: Subject) -> Verdict:
    if actor.works_in(subject.owner):
        return _allow("Your team owns this.")
    return _deny(f"Only members of {subject.owner}, which owns this, may do that.")


def _cancel(actor: Actor, subject: Subject) -> Verdict:
    if subject.requested_by_actor and any(role is not Role.VIEWER for role in actor.roles.values()):
        return _allow("You requested this run.")
    if any(actor.works_in(team) for team in subject.teams | {subject.pipeline_owner}):
        return _allow("You work in a team that owns a part of this pipeline.")
    return _deny(f"Only members of {_names(_all_teams(subject))} may cancel this run.")


def _terminate(actor: Actor, subject: Subject) -> Verdict:
    if actor.works_in(subject.pipeline_owner):
        return _allow("Your team owns this pipeline.")
    return _deny(
        f"Only members of {subject.pipeline_owner}, which owns this pipeline, may terminate: no exit stage runs then."
    )


def _override_freeze(actor: Actor, subject: Subject) -> Verdict:
    if actor.leads(subject.owner):
        return _allow("You lead the team that owns this environment.")
    return _deny(f"Only a lead of {subject.owner}, which owns this environment, may override its freeze window.")


def _manage_pipeline(actor: Actor, subject: Subject) -> Verdict:
    if actor.is_admin or actor.leads(subject.pipeline_owner):
        return _allow("You lead the team that owns this pipeline, or you are an administrator.")
    return _deny("Only a lead of the team that owns this pipeline, or an administrator, may change it.")


def _test_engines(actor: Actor, _: Subject) -> Verdict:
    if actor.is_admin or any(role is not Role.VIEWER for role in actor.roles.values()):
        return _allow("You work in a team, or you are an administrator.")
    return _deny("Only people who work in a team, or administrators, may test engines: a test asks something of them.")


def _import_workflows(actor: Actor, _: Subject) -> Verdict:
    if actor.is_admin or any(role is not Role.VIEWER for role in actor.roles.values()):
        return _allow("You work in a team, or you are an administrator.")
    return _deny("Only people who work in a team, or administrators, may import workflows: a cluster may be asked.")


def _clean_registry(actor: Actor, subject: Subject) -> Verdict:
    if actor.leads(subject.owner):
        return _allow("You lead the team that publishes there.")
    return _deny(f"Only a lead of {subject.owner}, which publishes there, may delete images or see what could go.")


_RULES = {
    Action.VIEW: _view,
    Action.START: _start,
    Action.APPROVE: _approve,
    Action.REJECT: _reject,
    Action.RETRY: _owner_only,
    Action.SKIP: _owner_only,
    Action.STEER: _owner_only,
    Action.CANCEL: _cancel,
    Action.TERMINATE: _terminate,
    Action.ROLL_BACK: _owner_only,
    Action.OVERRIDE_FREEZE: _override_freeze,
    Action.MANAGE_PIPELINE: _manage_pipeline,
    Action.CLEAN_REGISTRY: _clean_registry,
    Action.TEST_ENGINES: _test_engines,
    Action.IMPORT_WORKFLOWS: _import_workflows,
}


def _all_teams(subject: Subject) -> frozenset[str]:
    return subject.teams | ({subject.pipeline_owner} if subject.pipeline_owner else set())


def _names(teams: frozenset[str]) -> str:
    return " or ".join(sorted(teams)) or "no team"
