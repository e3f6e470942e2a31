"""docs/authorization.md: what `teams.policy` says to every kind of person, asked of the policy itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from teams.policy import ANONYMOUS, Action, Actor, Role, Subject, can

from .addresses import addresses

# One thing that is acted upon, and a team for each relation to it.
THING = Subject(
    owner="owner",
    pipeline_owner="pipeline",
    gate_teams=frozenset({"gate"}),
    teams=frozenset({"owner", "gate", "pipeline", "other"}),
)
RELATIONS = {
    "owner": "its owner",
    "gate": "asked by its gate",
    "pipeline": "owner of the pipeline",
    "other": "owner of another stage",
    "stranger": "no part of the pipeline",
}
NOBODY = {
    "administrator in no team": Actor("root", is_admin=True),
    "in no team": Actor("eve"),
    "not signed in": ANONYMOUS,
    "account closed": Actor("gone", {"owner": Role.LEAD}, is_active=False),
}
ACTIONS = {
    Action.VIEW: "see pages, logs, plans, the audit trail; follow live",
    Action.START: "start a run, or run one again",
    Action.APPROVE: "approve the plan that a gate asks about",
    Action.REJECT: "reject it",
    Action.RETRY: "do a stage that has ended again",
    Action.SKIP: "go on without a stage",
    Action.STEER: "promote, promote fully or abort a rollout under way",
    Action.CANCEL: "stop a run; its exit stages still run",
    Action.TERMINATE: "stop a run at once, without its exit stages",
    Action.ROLL_BACK: "bring a kept release back to an environment",
    Action.OVERRIDE_FREEZE: "let a stage go on in a frozen environment",
    Action.MANAGE_PIPELINE: "set a pipeline up, change it, see and renew its webhook secret",
    Action.CLEAN_REGISTRY: "see which images a registry needs no more, and delete them",
    Action.TEST_ENGINES: "test an engine, a registry or a cluster",
    Action.IMPORT_WORKFLOWS: "have workflows of Argo read and drawn",
}

HEAD = """\
<!-- Written by `make docs` from teams/policy.py and the addresses. Change those, not this page. -->
# Who may do what

`teams/policy.py` is the one judge. Pages, API, command line and live sockets all ask it. What no rule allows is denied.
A refusal is a sentence, and it is kept in the audit trail.

A person has a role in each of their teams: `viewer` looks, `member` works, `lead` may do a little more. A team stands
in some relation to the thing that is acted upon: it owns the stage (or the environment, or is the team itself), its
gate asks it, it owns the pipeline, it owns another stage of the pipeline, or none of these. Who is in several teams has
the rights of all.

## Teams, by their relation

The cell names the lowest role that may; `no` means nobody of that team, whatever the role.

"""
REQUESTED = """
## Who pushed or requested the run

"""
NOTES = """
- A stage that paused by itself asks its owner. For that, the owner counts as the team that is asked, and whoever pushed
  may answer.
- `override-freeze` and `roll-back` look at the owner of the environment, not of the stage.
- `retry-failed` asks about each failed stage.
- A person counts once for a plan, for one team.
- A secret belongs to one team. Only stages of that team get it, whoever started the run.

## Addresses

Every address of the installation and what is asked of whoever calls it. A stranger is sent to the sign-in page, or gets
401 from the API; whoever is in no team gets 403.

"""


def page() -> str:
    return "".join((HEAD, *_relations(), "\n", *_nobody(), REQUESTED, *_requested(), NOTES, *_addresses()))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _head(*cells: str) -> str:
    return _row(*cells) + "|" + "---|" * len(cells) + "\n"


def _relations() -> Iterator[str]:
    yield _head("action", "what", *RELATIONS.values())
    for action, words in ACTIONS.items():
        yield _row(f"`{action}`", words, *(lowest(action, team) for team in RELATIONS))


def lowest(action: Action, team: str) -> str:
    """The lowest role in a team that may, "no" for none. Every higher role may as well."""
    allowed = [role for role in Role if can(Actor("somebody", {team: role}), action, THING)]
    if not allowed:
        return "no"
    roles = list(Role)
    assert allowed == roles[roles.index(allowed[0]) :], f"{action} skips a role in {team}"
    return str(allowed[0])


def _nobody() -> Iterator[str]:
    yield _head("action", *NOBODY)
    for action in ACTIONS:
        yield _row(f"`{action}`", *("yes" if can(actor, action, THING) else "no" for actor in NOBODY.values()))


def _requested() -> Iterator[str]:
    """The actions whose verdict depends on who started the run, by asking with and without."""
    mine = replace(THING, requested_by_actor=True)
    with_leave = replace(mine, self_approval=True)
    yield _head("action", "a member of the gate's team who did", "where the gate has `self_approval`", "others who did")
    for action in ACTIONS:
        asked, stranger = Actor("a", {"gate": Role.MEMBER}), Actor("a", {"stranger": Role.MEMBER})
        cells = [can(asked, action, mine), can(asked, action, with_leave), can(stranger, action, mine)]
        before = [can(asked, action, THING), can(asked, action, THING), can(stranger, action, THING)]
        if [bool(cell) for cell in cells] != [bool(cell) for cell in before]:
            yield _row(f"`{action}`", *("yes" if cell else "no" for cell in cells))


def _addresses() -> Iterator[str]:
    yield _head("address", "method", "asks for")
    for address in addresses():
        for method, who in address.methods.items():
            yield _row(f"`{address.path}`", method, who)
