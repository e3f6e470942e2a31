"""What people do to a run: each function asks the policy, leaves an audit record, changes rows, wakes who waits."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from teams import audit
from teams.models import User
from teams.policy import Action, Subject, can

from .. import events
from ..definition.model import StageDef
from ..models import Attempt, Delivery, Environment, Pipeline, Release, Run, Stage, stage_label
from ..states import ACTIVE, AGAIN, ENDED, MIRRORED, RUN_ENDED, Reason, State
from .accept import outdated
from .advance import advance_locked, lock
from .changes import Changes
from .errors import Conflict, NotAllowed
from .push import Push, receive
from .questions import (
    asked_teams,
    is_lost,
    is_paused,
    obstacles,
    only_watched,
    why_not_retried,
    why_not_skipped,
    why_not_taken_up,
    why_not_while_leaving,
)
from .record import BY_HAND, void_approvals
from .start import start_built

COMMANDS = ("promote", "promote-full", "abort")


# --- who may --------------------------------------------------------------------------------------------------------


def stage_subject(stage: Stage, user: User) -> Subject:
    """What the policy has to know about a stage, as seen by one person."""
    gate = stage.definition.get("gate") or {}
    return Subject(
        owner=stage.owner,
        pipeline_owner=stage.run.pipeline.owner,
        gate_teams=frozenset(asked_teams(stage)),
        # Letting a paused stage go on is its owner's own work, whoever pushed.
        requested_by_actor=requested_by(stage.run, user) and not is_paused(stage),
        self_approval=bool(gate.get("self_approval")),
    )


def run_subject(run: Run, user: User) -> Subject:
    teams = frozenset(run.stages.values_list("owner", flat=True).distinct())
    return Subject(pipeline_owner=run.pipeline.owner, teams=teams, requested_by_actor=requested_by(run, user))


def requested_by(run: Run, user: User) -> bool:
    """Whether this person pushed its commit or requested the run, as far as the commit, the provider or the session
    tell."""
    if run.requested_by_id == user.pk or user.pk in run.pushers:
        return True
    address = user.email.lower()
    return bool(address) and f"<{address}>" in run.author.lower()


def judge(user: User, action: Action, subject: Subject, target: str) -> None:
    """Ask the policy, and write down a refusal. Raises NotAllowed."""
    verdict = can(user.as_actor(), action, subject)
    if not verdict:
        audit.write(actor=user.username, action=action, target=target, allowed=False, reason=verdict.reason)
        raise NotAllowed(verdict.reason)


def judge_stage(user: User, action: Action, stage: int) -> None:
    """Before the lock: a refusal must be kept although nothing else is."""
    row = Stage.objects.select_related("run__pipeline").get(pk=stage)
    judge(user, action, stage_subject(row, user), f"stage:{stage_label(row)}")


def _judge_run(user: User, action: Action, run: int) -> None:
    row = Run.objects.select_related("pipeline").get(pk=run)
    judge(user, action, run_subject(row, user), f"run:{row.pipeline.slug}/{row.number}")


def stage_locked(stage: int) -> tuple[Stage, Changes]:
    run = lock(Stage.objects.values_list("run", flat=True).get(pk=stage))
    row = Stage.objects.get(pk=stage)
    row.run = run
    return row, Changes(run)


def wrote(changes: Changes, user: User, action: str, stage: Stage | None, reason: str, **data: Any) -> None:
    """The audit entry and the event of something that was done."""
    run = changes.run
    target = f"stage:{stage_label(stage)}" if stage else f"run:{run.pipeline.slug}/{run.number}"
    audit.write(actor=user.username, action=action, target=target, reason=reason, **data)
    changes.say(
        events.Decided(
            action=action,
            actor=user.username,
            reason=reason,
            team=data.get("team", ""),
            digest=data.get("digest", ""),
            values=data.get("values", {}),
        ),
        stage=stage.pk if stage else None,
    )


# --- what waits half done -----------------------------------------------------------------------------------------


def resume(stage: Stage, changes: Changes) -> None:
    progress = {k: v for k, v in stage.progress.items() if k != "question"}
    changes.move(
        stage.pk, stage.name, stage.state, State.QUEUED,
        code="resume", reason="it goes on", resumes=stage.resumes + 1, progress=progress,
    )  # fmt: skip


def stop_begun(stage: Stage, changes: Changes, how: str, words: str) -> None:
    """Hand a stage that waits half done to a worker, which stops it."""
    progress = {k: v for k, v in stage.progress.items() if k != "question"}
    changes.move(
        stage.pk, stage.name, stage.state, State.QUEUED,
        code="stop", reason=words, stop_requested=how, progress=progress,
    )  # fmt: skip


# --- stages -----------------------------------------------------------------------------------------------------------


def retry(*, stage: int, user: User, reason: str = "") -> Stage:
    """Do an ended stage again, in the same run, with what was omitted because of it and the exit stages."""
    judge_stage(user, Action.RETRY, stage)
    with transaction.atomic():
        row, changes = stage_locked(stage)
        if why := why_not_retried(row, obstacles(row.run, [row]).get(row.pk, "")):
            raise Conflict(why)
        if is_lost(row):
            _give_up(row, changes)
        if row.on_exit:
            _reopen_exits(changes, [row])
        else:
            _reopen(changes, [row])
        wrote(changes, user, "retry", row, reason)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


def _give_up(stage: Stage, changes: Changes) -> None:
    """Close the attempt of which nobody knows what became; a person has looked."""
    Attempt.objects.filter(stage=stage, open=True).update(
        open=False, state=State.ERROR, reason="a person decided to do it again", ended_at=changes.now,
        data={"given_up": True},
    )  # fmt: skip
    changes.move(stage.pk, stage.name, stage.state, State.ERROR, reason="a person decided to do it again")
    changes.save()
    stage.state = State.ERROR


def retry_failed(*, run: int, user: User, reason: str = "") -> Run:
    """Do again, in the same run, all that did not succeed and that this person may retry. What succeeded stays; exit
    stages run behind what is done again, so those that failed are only looked at where nothing else has."""
    with transaction.atomic():
        locked = lock(run)
        found = list(Stage.objects.filter(run=run, state__in=AGAIN).order_by("position"))
        stages = [stage for stage in found if not stage.on_exit] or found
        leaving = Stage.objects.filter(run=run, state__in=ACTIVE, on_exit=True).values_list("name", flat=True)
        why = why_not_taken_up(locked) or why_not_while_leaving(leaving)
        for stage in stages:
            stage.run = locked
    if why:
        raise Conflict(why)
    if not stages:
        raise Conflict("Nothing in this run has failed.")
    actor = user.as_actor()
    mine = [stage for stage in stages if can(actor, Action.RETRY, stage_subject(stage, user))]
    if not mine:
        judge(user, Action.RETRY, stage_subject(stages[0], user), f"stage:{stage_label(stages[0])}")
    stages = [stage for stage in mine if not outdated(stage)]
    if not stages:
        raise Conflict(outdated(mine[0]))
    with transaction.atomic():
        changes = Changes(lock(run))
        fresh = [s for s in Stage.objects.filter(pk__in=[s.pk for s in stages]) if s.state in ENDED]
        for stage in fresh:
            stage.run = changes.run
        if fresh:
            (_reopen_exits if fresh[0].on_exit else _reopen)(changes, fresh)
            wrote(changes, user, "retry-failed", None, reason)
            advance_locked(changes.run, changes)
    return Run.objects.get(pk=run)


def _reopen(changes: Changes, stages: list[Stage]) -> None:
    """Make stages pending again, with all that was omitted and the exit stages, and the run one that goes on."""
    run = changes.run
    if why := why_not_taken_up(run):
        raise Conflict(why)
    run.stopping, run.reason = "", ""
    run.save(update_fields=["stopping", "reason"])
    chosen = {stage.pk for stage in stages}
    also = Stage.objects.filter(run=run, state__in=ENDED).exclude(pk__in=chosen)
    _pend(changes, stages, [s for s in also if s.state == State.OMITTED or (s.on_exit and s.reason_code != BY_HAND)])


def _reopen_exits(changes: Changes, stages: list[Stage]) -> None:
    """Make exit stages pending again, with those that were omitted. A cancel stands, and the others are not done
    twice."""
    omitted = Stage.objects.filter(run=changes.run, state=State.OMITTED, on_exit=True)
    _pend(changes, stages, list(omitted.exclude(pk__in=[stage.pk for stage in stages])))


def _pend(changes: Changes, chosen: list[Stage], followers: list[Stage]) -> None:
    for stage, retried in [*((one, True) for one in chosen), *((one, False) for one in followers)]:
        void_approvals(stage, "the stage was retried")
        changes.move(
            stage.pk, stage.name, stage.state, State.PENDING,
            reason="retried" if retried else "", extra_attempts=stage.attempts_made if retried or stage.on_exit else 0,
            plan_digest="", plan=None, stop_requested="", progress={}, commands=[], resumes=0, ended_at=None,
            started_at=None, artifacts=[], retry_hint={}, freeze_override="",
        )  # fmt: skip


def skip(*, stage: int, user: User, reason: str) -> Stage:
    """Go on without a stage. What needs it goes on as if it had succeeded."""
    judge_stage(user, Action.SKIP, stage)
    if not reason.strip():
        raise Conflict("Say why it is skipped: it stays in the record.")
    with transaction.atomic():
        row, changes = stage_locked(stage)
        if why := why_not_skipped(row):
            raise Conflict(f"Stage {row.name} cannot be skipped. {why}")
        _skip(row, changes, f"{user.username} skipped it: {reason}")
        wrote(changes, user, "skip", row, reason)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


def _skip(row: Stage, changes: Changes, words: str) -> None:
    if is_paused(row) or row.reason_code in (Reason.ENGINE, "person"):
        stop_begun(row, changes, "skip", words)
        return
    reopens = row.state in ENDED
    changes.move(row.pk, row.name, row.state, State.SKIPPED, code=BY_HAND, reason=words)
    if reopens:
        changes.save()
        (_reopen_exits if row.on_exit else _reopen)(changes, [])


def steer(*, stage: int, user: User, command: str, reason: str = "") -> Stage:
    """Tell a rollout under way to promote, promote fully, or abort."""
    judge_stage(user, Action.STEER, stage)
    if command not in COMMANDS:
        raise Conflict(f"Unknown command {command!r}; expected one of {', '.join(COMMANDS)}.")
    with transaction.atomic():
        row, changes = stage_locked(stage)
        if not _is_rolling(row):
            raise Conflict(f"Stage {row.name} is a {row.kind} that is {row.state}; there is no rollout under way.")
        _command(row, changes, user, command, reason)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


def _is_rolling(row: Stage) -> bool:
    return row.kind == "rollout" and (is_paused(row) or (row.state == State.RUNNING and row.reason_code != "plan"))


def _command(row: Stage, changes: Changes, user: User, command: str, reason: str) -> None:
    Stage.objects.filter(pk=row.pk).update(commands=[*row.commands, command])
    wrote(changes, user, command, row, reason)
    if is_paused(row):
        resume(row, changes)


def override_freeze(*, stage: int, user: User, reason: str) -> Stage:
    """Let a stage go on although its environment is frozen. Needs a lead of the environment's owner, and a reason."""
    row = Stage.objects.select_related("run__pipeline").get(pk=stage)
    environment = Environment.objects.filter(pipeline=row.run.pipeline_id, name=row.environment).first()
    subject = Subject(owner=environment.owner if environment else row.owner)
    judge(user, Action.OVERRIDE_FREEZE, subject, f"stage:{stage_label(row)}")
    if not row.environment:
        raise Conflict(f"Stage {row.name} is for no environment, so no freeze holds it up.")
    if not reason.strip():
        raise Conflict("Say why the freeze does not hold here: it stays in the record.")
    with transaction.atomic():
        row, changes = stage_locked(stage)
        if row.state != State.WAITING or row.reason_code != Reason.WINDOW:
            raise Conflict(f"Stage {row.name} does not wait for a freeze window.")
        Stage.objects.filter(pk=row.pk).update(freeze_override=f"{user.username}: {reason}")
        wrote(changes, user, "override-freeze", row, reason)
        advance_locked(changes.run, changes)
    return Stage.objects.get(pk=stage)


# --- runs -------------------------------------------------------------------------------------------------------------


def cancel(*, run: int, user: User, reason: str = "") -> Run:
    """Stop a run; its exit stages still run."""
    return _stop_run(run, user, Action.CANCEL, "cancel", reason)


def terminate(*, run: int, user: User, reason: str) -> Run:
    """Stop a run at once; its exit stages do not run."""
    if not reason.strip():
        raise Conflict("Say why it is terminated: it stays in the record.")
    return _stop_run(run, user, Action.TERMINATE, "terminate", reason)


def _stop_run(run: int, user: User, action: Action, how: str, reason: str) -> Run:
    _judge_run(user, action, run)
    with transaction.atomic():
        locked = lock(run)
        if locked.state in RUN_ENDED:
            raise Conflict(f"This run has ended already: it is {locked.state}.")
        if watched := only_watched(locked):
            raise Conflict(watched)
        if locked.stopping == how or locked.stopping == "terminate":
            raise Conflict("This run is being stopped already.")
        locked.stopping = how
        locked.reason = f"{user.username} {'canceled' if how == 'cancel' else 'terminated'} it" + (
            f": {reason}" if reason else ""
        )
        locked.save(update_fields=["stopping", "reason"])
        going = Stage.objects.filter(run=run, state__in=(State.RUNNING, State.UNKNOWN))
        (going.filter(on_exit=False) if how == "cancel" else going).update(stop_requested=how)
        changes = Changes(locked)
        wrote(changes, user, how, None, reason)
        advance_locked(locked, changes)
    return Run.objects.get(pk=run)


def rerun(*, run: int, user: User) -> Delivery:
    """Run the same commit again, as a new run with the same parameters."""
    _judge_run(user, Action.START, run)
    old = Run.objects.select_related("pipeline").get(pk=run)
    if old.engine == MIRRORED:
        raise Conflict("This run shows a Workflow of Argo; submit that again from the page Import.")
    if old.trigger == "rollback":
        raise Conflict("A roll back is not run again; roll back to a release from its environment's page.")
    push = Push(
        ref=old.ref, commit=old.commit, subject=old.subject, author=old.author, trigger="rerun",
        parameters=old.parameters, requested_by=user, rerun_of=old,
    )  # fmt: skip
    delivery, _ = receive(old.pipeline, push, provider="portal", delivery=f"rerun-{uuid.uuid4()}")
    return delivery


def request(*, pipeline: Pipeline, user: User, ref: str, commit: str = "", parameters: dict[str, str]) -> Delivery:
    """Ask for a run of a ref, or of one commit of it. A worker finds the commit and starts the run."""
    from ..definition.parse import parse

    definition = parse(pipeline.accepted.text).definition if pipeline.accepted else None
    teams = frozenset(stage.owner for stage in definition.stages) if definition else frozenset()
    subject = Subject(pipeline_owner=pipeline.owner, teams=teams)
    judge(user, Action.START, subject, f"pipeline:{pipeline.slug}")
    push = Push(ref=ref, commit=commit, trigger="manual", parameters=parameters, requested_by=user)
    delivery, _ = receive(pipeline, push, provider="portal", delivery=f"manual-{uuid.uuid4()}")
    return delivery


def roll_back(*, release: int, user: User, reason: str) -> Run:
    """Bring a kept release back, at once and without steps. A freeze does not hold it up, and a rollout that is under
    way in the environment is aborted for it."""
    kept = Release.objects.select_related("environment__pipeline", "run").get(pk=release)
    environment = kept.environment
    target = f"environment:{environment.pipeline.slug}/{environment.name}"
    judge(user, Action.ROLL_BACK, Subject(owner=environment.owner), target)
    if not reason.strip():
        raise Conflict("Say why you roll back: those who shipped want to know.")
    stage = StageDef(
        name="roll-back",
        kind="rollout",
        owner=environment.owner,
        group="roll-back",
        title=f"Roll {environment.name} back to {kept.name}",
        environment=environment.name,
        with_={"rollback_to": kept.name},
    )
    push = Push(
        ref=kept.run.ref if kept.run else "", commit=kept.commit, subject=f"Roll back to {kept.name}: {reason}",
        author=user.username, trigger="rollback", requested_by=user,
    )  # fmt: skip
    run = start_built(pipeline=environment.pipeline, push=push, stages=(stage,))
    audit.write(actor=user.username, action="roll-back", target=target, reason=reason, release=kept.name)
    _abort_others(environment, user, f"run #{run.number} rolls {environment.name} back: {reason}", run)
    return run


def _abort_others(environment: Environment, user: User, reason: str, run: Run) -> None:
    """What is under way would be rolled over in any case; half of it may be what customers suffer from."""
    others = Stage.objects.filter(
        run__pipeline=environment.pipeline_id, environment=environment.name, kind="rollout",
        state__in=(State.RUNNING, State.WAITING),
    ).exclude(run=run)  # fmt: skip
    for stage in list(others.values_list("pk", flat=True)):
        with transaction.atomic():
            row, changes = stage_locked(stage)
            if not _is_rolling(row) or row.definition["with_"].get("rollback_to"):
                continue
            _command(row, changes, user, "abort", reason)
            advance_locked(changes.run, changes)
