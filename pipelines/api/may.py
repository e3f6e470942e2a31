"""What a person may do to a run or a stage right now, and in words why not to the rest.

The policy is `teams.policy`'s and the door is `pipelines.runs`; this only tells beforehand what they will say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.models import Pipeline, Run, Stage
from pipelines.runs.accept import outdated
from pipelines.runs.actions import COMMANDS, requested_by, stage_subject
from pipelines.runs.questions import (
    is_paused,
    why_not_retried,
    why_not_skipped,
    why_not_taken_up,
    why_not_while_leaving,
)
from pipelines.states import RUN_ENDED, Reason, State
from teams.models import User
from teams.policy import Action, Actor, Subject, Verdict, can

May = dict[str, dict[str, Any]]


def _said(obstacle: str, verdict: Verdict) -> dict[str, Any]:
    """How things stand comes second: who may never act is told so."""
    allowed = bool(verdict) and not obstacle
    return {"allowed": allowed, "reason": (obstacle if verdict and obstacle else verdict.reason)}


def stage_may(
    stage: Stage, user: User, actor: Actor, owners: Mapping[str, str], *, obstacle: str, approved: bool
) -> May:
    """`owners` maps the pipeline's environments to the teams that own them; `obstacle` is what
    `runs.questions.obstacles` says of this stage; `approved` tells whether this person has, and it counts."""
    subject = stage_subject(stage, user)
    asks, steers = _not_asking(stage), _not_steerable(stage)
    said = "You have approved this plan already; a person counts once." if approved else ""
    old = "" if asks or is_paused(stage) else outdated(stage)
    steer = can(actor, Action.STEER, subject)
    owner = Subject(owner=owners.get(stage.environment, stage.owner))
    frozen = stage.state == State.WAITING and stage.reason_code == Reason.WINDOW
    return {
        "approve": _said(asks or said or old, can(actor, Action.APPROVE, subject)),
        "reject": _said(asks, can(actor, Action.REJECT, subject)),
        "retry": _said(why_not_retried(stage, obstacle), can(actor, Action.RETRY, subject)),
        "skip": _said(why_not_skipped(stage), can(actor, Action.SKIP, subject)),
        **{command: _said(steers, steer) for command in COMMANDS},
        "override-freeze": _said(
            "" if frozen else "It does not wait for a freeze window.", can(actor, Action.OVERRIDE_FREEZE, owner)
        ),
    }


def is_asking(stage: Stage) -> bool:
    return stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL


def _not_asking(stage: Stage) -> str:
    if not is_asking(stage):
        return f"It is {stage.state}; it does not wait for an approval."
    stopping = stage.run.stopping == "terminate" or (stage.run.stopping and not stage.on_exit)
    return "The run is being stopped." if stopping else ""


def _not_steerable(stage: Stage) -> str:
    going = stage.kind == "rollout" and (stage.state == State.RUNNING or is_paused(stage))
    return "" if going else f"It is a {stage.kind} that is {stage.state}; there is no rollout under way."


def run_may(
    run: Run, owners: frozenset[str], bad: Sequence[Stage], leaving: Sequence[str], user: User, actor: Actor
) -> May:
    """`owners` are those of all stages; `bad` has, for each owner of stages that could be retried, one of them;
    `leaving` are the exit stages that are under way."""
    subject = Subject(pipeline_owner=run.pipeline.owner, teams=owners, requested_by_actor=requested_by(run, user))
    ended = f"It has ended: it is {run.state}." if run.state in RUN_ENDED else ""
    stopping = "It is being stopped already." if run.stopping else ""
    verdicts = [can(actor, Action.RETRY, stage_subject(stage, user)) for stage in bad]
    # It takes up what this person may retry, and leaves the rest to its owners.
    again = next((one for one in verdicts if one), verdicts[0] if verdicts else Verdict(True, ""))
    rolled = "A roll back is not run again." if run.trigger == "rollback" else ""
    terminating = stopping if run.stopping == "terminate" else ""
    going = why_not_taken_up(run) or why_not_while_leaving(leaving)
    return {
        "cancel": _said(ended or stopping, can(actor, Action.CANCEL, subject)),
        "terminate": _said(ended or terminating, can(actor, Action.TERMINATE, subject)),
        "rerun": _said(rolled, can(actor, Action.START, subject)),
        "retry-failed": _said(going or ("" if bad else "Nothing in it has failed."), again),
    }


def pipeline_may(pipeline: Pipeline, teams: frozenset[str], actor: Actor) -> May:
    subject = Subject(pipeline_owner=pipeline.owner, teams=teams)
    return {
        "start": _said("", can(actor, Action.START, subject)),
        "manage": _said("", can(actor, Action.MANAGE_PIPELINE, subject)),
    }
