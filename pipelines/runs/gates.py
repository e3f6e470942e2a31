"""What a gate's teams say: each person counts once, for one team, about exactly one plan or question."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.utils import timezone

from teams.models import User
from teams.policy import Action

from ..models import Approval, Stage
from ..states import Reason, State
from ..votes import approvals_by_team, asks, votes_on
from .accept import outdated
from .actions import judge_stage, resume, stage_locked, stop_begun, wrote
from .advance import advance_locked
from .errors import Conflict
from .questions import asked_digest, asked_teams, is_paused, only_watched
from .values import answered


def approve(
    *, stage: int, user: User, digest: str, reason: str = "", team: str = "", values: Mapping[str, str] | None = None
) -> Stage:
    """Approve exactly the plan (or the question of a pause) whose digest is named, with the values that the gate asks
    for, by name. The last approval that a gate needs starts the stage. Raises NotAllowed, Conflict."""
    judge_stage(user, Action.APPROVE, stage)
    with transaction.atomic():
        row, changes = stage_locked(stage)
        _expect_question(row, digest)
        # What is under way was approved, and somebody has to say how it goes on.
        if not is_paused(row) and (old := outdated(row)):
            raise Conflict(old)
        _void_of_those_who_left(row)
        gate = row.definition.get("gate") or {}
        if gate.get("reason_required") and not reason.strip():
            raise Conflict("This gate asks for a reason. Say why you approve.")
        said = answered(row, values or {})
        team = _team_for(row, user, team)
        _vote(row, user, team, Approval.Verdict.APPROVE, digest, reason, said)
        wrote(changes, user, "approve", row, reason, team=team, digest=digest, **({"values": said} if said else {}))
        if is_paused(row):
            resume(row, changes)
        elif missing := _missing(row):
            changes.reword(row.pk, Reason.APPROVAL, asks(missing), due_at=row.due_at)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


def reject(*, stage: int, user: User, digest: str, reason: str, team: str = "") -> Stage:
    """Say no to the plan. The stage ends as rejected, unless it has begun: then it is stopped first."""
    judge_stage(user, Action.REJECT, stage)
    if not reason.strip():
        raise Conflict("Say why you reject it: those who wait want to know.")
    with transaction.atomic():
        row, changes = stage_locked(stage)
        _expect_question(row, digest)
        _void_of_those_who_left(row)
        team = _team_for(row, user, team)
        # Who has approved may think again for as long as others have not.
        mine = Approval.objects.filter(stage=row, user=user, plan_digest=digest, resumes=row.resumes, voided="")
        mine.update(voided=f"{user.username} took it back")
        _vote(row, user, team, Approval.Verdict.REJECT, digest, reason)
        wrote(changes, user, "reject", row, reason, team=team, digest=digest)
        words = f"{user.username} rejected it for {team}: {reason}"
        if is_paused(row):
            stop_begun(row, changes, "reject", words)
        else:
            changes.move(row.pk, row.name, row.state, State.REJECTED, reason=words)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


def _missing(stage: Stage) -> list[str]:
    """The teams whose approvals are not enough yet."""
    have = approvals_by_team({stage.pk: asked_digest(stage)}).get(stage.pk, {})
    return [team for team, quorum in asked_teams(stage).items() if have.get(team, 0) < quorum]


def _expect_question(stage: Stage, digest: str) -> None:
    if watched := only_watched(stage.run):
        raise Conflict(watched)
    if stage.state != State.WAITING or stage.reason_code != Reason.APPROVAL:
        raise Conflict(f"Stage {stage.name} is {stage.state}; it does not wait for an approval.")
    if stage.run.stopping == "terminate" or (stage.run.stopping and not stage.on_exit):
        raise Conflict("This run is being stopped; only its exit stages go on.")
    if stage.due_at and stage.due_at <= timezone.now() and not is_paused(stage):
        raise Conflict(f"This gate expired at {stage.due_at:%Y-%m-%d %H:%M} UTC. Retry the stage to be asked anew.")
    if digest != asked_digest(stage):
        raise Conflict(
            f"The plan has changed: you named {digest[7:19] or 'none'}, what waits now is "
            f"{asked_digest(stage)[7:19]}. Read the new plan and decide again."
        )


def _void_of_those_who_left(stage: Stage) -> None:
    """What does not count any more is written down as such before others decide, so that it does not come back either
    when its author does."""
    for vote in votes_on({stage.pk: asked_digest(stage)}):
        if vote.why_not:
            Approval.objects.filter(pk=vote.approval).update(voided=vote.why_not)


def _team_for(stage: Stage, user: User, named: str) -> str:
    """The team that this person speaks for: the one named, else theirs that still misses approvals. A person counts
    once, for one team."""
    actor = user.as_actor()
    asked = asked_teams(stage)
    mine = [team for team in asked if actor.works_in(team)]
    if not mine:
        raise Conflict("Whom this gate asks has changed since you looked. Reload it.")
    if named:
        if named not in mine:
            raise Conflict(f"You cannot speak for {named} here; this gate asks {', '.join(asked)}.")
        return named
    have = approvals_by_team({stage.pk: asked_digest(stage)}).get(stage.pk, {})
    return next((team for team in mine if have.get(team, 0) < asked[team]), mine[0])


def _vote(
    stage: Stage, user: User, team: str, verdict: str, digest: str, reason: str, values: Mapping[str, str] | None = None
) -> None:
    try:
        with transaction.atomic():
            Approval.objects.create(
                stage=stage, user=user, team=team, verdict=verdict, plan_digest=digest,
                reason=reason, resumes=stage.resumes, values=dict(values or {}),
            )  # fmt: skip
    except IntegrityError:
        raise Conflict("You have decided about this plan already; a person counts once.") from None
