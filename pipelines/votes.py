"""What people said at gates, and whether it counts: those who have left a team do not speak for it any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from teams.models import Membership
from teams.policy import Actor, Role, still_counts

from .models import Approval


@dataclass(frozen=True, slots=True)
class Vote:
    """`why_not` says in words why it does not count any more, "" if it does."""

    approval: int
    stage: int
    user: int
    team: str
    verdict: str
    why_not: str = ""


def asks(teams: Iterable[str]) -> str:
    """What a stage at its gate waits for, as its reason says it."""
    return f"waiting for {' and '.join(teams)} to approve its plan"


def votes_on(asked: Mapping[int, str], opened: Collection[int] = ()) -> list[Vote]:
    """The votes about what is asked now, as (stage's key: digest). Of stages in `opened`, whose gate was opened before,
    all of them count: who leaves afterwards closes no gate."""
    if not asked:
        return []
    rows = [
        row
        for row in Approval.objects.filter(stage__in=asked, voided="").select_related("user").order_by("pk")
        if asked[row.stage_id] == row.plan_digest
    ]
    roles = _roles({row.user_id for row in rows if row.stage_id not in opened})
    return [
        Vote(
            row.pk, row.stage_id, row.user_id, row.team, row.verdict,
            "" if row.stage_id in opened else _why_not(row, roles.get(row.user_id, {})),
        )
        for row in rows
    ]  # fmt: skip


def _roles(users: Collection[int]) -> dict[int, dict[str, Role]]:
    found: dict[int, dict[str, Role]] = {}
    if users:
        for user, team, role in Membership.objects.filter(user__in=users).values_list("user", "team__slug", "role"):
            found.setdefault(user, {})[team] = Role(role)
    return found


def _why_not(row: Approval, roles: Mapping[str, Role]) -> str:
    verdict = still_counts(Actor(row.user.username, roles, is_active=row.user.is_active), row.team)
    return "" if verdict else verdict.reason


def approvals_by_team(asked: Mapping[int, str], opened: Collection[int] = ()) -> dict[int, dict[str, int]]:
    """How many approvals count, by stage and team; the arguments are those of `votes_on`. A person has one vote."""
    counts: dict[int, dict[str, int]] = {}
    for vote in votes_on(asked, opened):
        if vote.verdict == Approval.Verdict.APPROVE and not vote.why_not:
            teams = counts.setdefault(vote.stage, {})
            teams[vote.team] = teams.get(vote.team, 0) + 1
    return counts
