"""One run and its Workflows, brought together: what the cluster says becomes reasons of stages, what the portal decided
opens doors and submits what is to be done. Safe to call at any time, any number of times.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from pipelines import events
from pipelines.executors.connections import Argo
from pipelines.executors.kubernetes.errors import Refused
from pipelines.models import Approval, Attempt, Run, Stage, Workflow
from pipelines.runs.advance import advance_locked, lock
from pipelines.runs.changes import Changes
from pipelines.snapshots import FIELDS, Row
from pipelines.states import ENDED, Reason, State

from . import submit
from .desk import notice_breach
from .manifests import ENDED as ENDED_BADLY
from .nodes import Door, Seen, Summary

log = logging.getLogger(__name__)

PATIENT = timedelta(seconds=15)  # for which a stage may be ready without anything of it on the cluster
_PASSED = frozenset({State.SUCCEEDED, State.SKIPPED})
_GOES = frozenset({State.RUNNING, State.UNKNOWN})

Seens = Mapping[str, Summary]


def sync(run: int, client: Any, argo: Argo, seen: Seens) -> None:
    """`seen` is what the cluster has of the run's Workflows. Raises ClusterAway, Refused."""
    workflows = {one.name: one for one in Workflow.objects.filter(run=run, open=True)}
    for name, workflow in workflows.items():
        if not workflow.uid:
            submit.submit(workflow, client, argo)
        elif name in seen:
            _take_over(workflow, seen[name])
    _doors(run, workflows, client, seen)
    _submit_what_is_missing(run, workflows, client, argo, seen)
    _shut_down(run, workflows, client, seen)
    _close(run, workflows, seen)


# --- what the cluster says -------------------------------------------------------------------------------------------


def _take_over(workflow: Workflow, seen: Summary) -> None:
    """Reasons of stages that wait for their pod, and the end of those whose pods will not come."""
    with transaction.atomic():
        changes = Changes(lock(workflow.run_id))
        names = [stage for stages in workflow.tasks.values() for stage in stages]
        for stage in Stage.objects.filter(run=workflow.run_id, name__in=names).exclude(state__in=ENDED):
            stage.run = changes.run
            if _judge(stage, seen.stages.get(stage.name, Seen()), workflow, changes):
                # Once: whoever does it again does so in another Workflow.
                workflow.seen = {"given_up": [*workflow.seen.get("given_up", ()), stage.name]}
                Workflow.objects.filter(pk=workflow.pk).update(seen=workflow.seen)
        if workflow.phase != seen.phase:
            Workflow.objects.filter(pk=workflow.pk).update(phase=seen.phase)
        advance_locked(changes.run, changes)


def _judge(stage: Stage, seen: Seen, workflow: Workflow, changes: Changes) -> bool:
    """True where it was given up."""
    if stage.state == State.QUEUED and stage.reason_code == "stop" and not _has_attempt(stage):
        changes.move(stage.pk, stage.name, stage.state, State.CANCELED, reason=stage.reason, stop_requested="")
    # A pod that ended with ENDED heard from the portal that its stage had; since then it was asked for again.
    elif seen.phase in ("Failed", "Error") and seen.code != str(ENDED_BADLY):
        return stage.name not in workflow.seen.get("given_up", ()) and _given_up(stage, seen, changes)
    elif stage.state == State.WAITING and stage.reason_code == Reason.ENGINE and not _has_attempt(stage):
        if seen.pod or "controller" not in stage.reason:
            changes.move(stage.pk, stage.name, stage.state, State.QUEUED, reason=_pending(seen))
    elif stage.state == State.QUEUED and not stage.due_at:
        _wait_for_a_pod(stage, seen, changes)
    return False


def _given_up(stage: Stage, seen: Seen, changes: Changes) -> bool:
    """Its node has failed for good while the portal heard of no end. False where that says nothing of the stage."""
    words = f"its pods could not do it: {seen.says or 'the cluster does not say why'}"
    if stage.state in _GOES and stage.reason_code != "person":
        Attempt.objects.filter(stage=stage, open=True).update(
            open=False, state=State.ERROR, reason=words, data={"given_up": True}, ended_at=changes.now, lease_until=None
        )
    elif stage.state != State.QUEUED or stage.reason_code in ("plan", "retry"):
        return False
    changes.move(stage.pk, stage.name, stage.state, State.ERROR, reason=words)
    return True


def _wait_for_a_pod(stage: Stage, seen: Seen, changes: Changes) -> None:
    if seen.pod == "Pending" and seen.says:
        words = _pending(seen)
        if stage.reason != words:
            changes.say(events.StageChanged(state=State.QUEUED, code=stage.reason_code, reason=words), stage=stage.pk)
            Stage.objects.filter(pk=stage.pk).update(reason=words)
    elif not seen.pod and not stage.reason_code and stage.since and changes.now - stage.since > PATIENT:
        words = "the workflow controller has not taken it up; is it there?"
        changes.move(stage.pk, stage.name, stage.state, State.WAITING, code=Reason.ENGINE, reason=words)


def _pending(seen: Seen) -> str:
    return f"its pod is pending: {seen.says}" if seen.pod == "Pending" and seen.says else ""


def _has_attempt(stage: Stage) -> bool:
    return Attempt.objects.filter(stage=stage, open=True).exists()


# --- what the portal decided -----------------------------------------------------------------------------------------


def _doors(run: int, workflows: Mapping[str, Workflow], client: Any, seen: Seens) -> None:
    standing = [(workflows[name], door) for name in workflows if name in seen for door in seen[name].doors]
    if not standing:
        return
    stages = {stage.name: stage for stage in Stage.objects.filter(run=run)}
    for workflow, door in standing:
        stage = stages.get(door.stage)
        if stage is None:
            continue
        if door.phase == "Running":
            _decide(workflow, door, stage, client)
        elif door.phase == "Succeeded" and door.node not in workflow.opened:
            notice_breach(workflow, stage.pk)


def _decide(workflow: Workflow, door: Door, stage: Stage, client: Any) -> None:
    if stage.state in ENDED and stage.state not in _PASSED:
        _leave(workflow, door, client, "Failed", f"{stage.state}: {stage.reason}", {})
    elif stage.state in _PASSED or stage.state in _GOES or _is_ready(stage):
        says = _who(stage)
        words = f"approved by {says['by']}" if says["by"] else stage.reason or "its time has come"
        _leave(workflow, door, client, "Succeeded", words, says)


def _is_ready(stage: Stage) -> bool:
    planned = bool(stage.plan_digest) or not stage.gated
    return stage.state == State.QUEUED and stage.reason_code != "plan" and planned


def _who(stage: Stage) -> dict[str, str]:
    """Who approved the plan, when, why, and its digest, for those who look at the Workflow."""
    votes = Approval.objects.filter(
        stage=stage, voided="", verdict=Approval.Verdict.APPROVE, plan_digest=stage.plan_digest
    ).select_related("user")
    found = list(votes) if stage.gated and stage.plan_digest else []
    return {
        "by": ", ".join(f"{vote.user.username} for {vote.team}" for vote in found),
        "reason": "; ".join(vote.reason for vote in found if vote.reason),
        "digest": stage.plan_digest if found else "",
        "at": max(vote.at for vote in found).isoformat() if found else timezone.now().isoformat(),
    }


def _leave(workflow: Workflow, door: Door, client: Any, phase: str, words: str, says: Mapping[str, str]) -> None:
    """End one suspended node, and no other."""
    # Written down before: who ends it otherwise does so past the portal.
    opened = workflow.opened | {door.node: says.get("digest", "")}
    if opened != workflow.opened:
        workflow.opened = opened
        Workflow.objects.filter(pk=workflow.pk).update(opened=opened)
    node: dict[str, Any] = {
        "phase": phase,
        "message": words[:1000],
        "finishedAt": timezone.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if says:
        node["outputs"] = {"parameters": [{"name": name, "value": value} for name, value in says.items()]}
    submit.patch(client, workflow.name, {"status": {"nodes": {door.node: node}}})


def _submit_what_is_missing(run: int, workflows: dict[str, Workflow], client: Any, argo: Argo, seen: Seens) -> None:
    row = Run.objects.select_related("pipeline").get(pk=run)
    if row.ended_at:
        return None
    rows = [Row(*values) for values in Stage.objects.filter(run=run).order_by("position").values_list(*FIELDS)]
    gone = {name: one for name, one in workflows.items() if one.phase != "gone"}
    if not (positions := submit.missing(row, rows, gone, seen)):
        return None
    workflow = submit.prepare(run, positions, argo)
    if workflow is None:
        return _give_up(run, f"{submit.MOST} Workflows were submitted for this run, and it is not done")
    workflows[workflow.name] = workflow
    try:
        submit.submit(workflow, client, argo)
    except Refused as refused:
        _give_up(run, f"the cluster does not take its Workflow: {refused}")


def _give_up(run: int, words: str) -> None:
    """What cannot be submitted ends: it would wait for ever."""
    with transaction.atomic():
        changes = Changes(lock(run))
        for stage in Stage.objects.filter(run=run, state=State.QUEUED):
            changes.move(stage.pk, stage.name, stage.state, State.ERROR, reason=words)
        advance_locked(changes.run, changes)
    Workflow.objects.filter(run=run, uid="").update(open=False)


def _shut_down(run: int, workflows: Mapping[str, Workflow], client: Any, seen: Seens) -> None:
    """Once all of a terminated run has stopped, Argo starts nothing more. One that was canceled goes on to its exit
    stages, which Argo would stop as well."""
    stopping = Run.objects.values_list("stopping", flat=True).get(pk=run)
    if stopping != "terminate" or Stage.objects.filter(run=run).exclude(state__in=ENDED).exists():
        return
    for name in workflows:
        found = seen.get(name)
        if found is not None and not found.ended and not found.stopping:
            submit.patch(client, name, {"spec": {"shutdown": "Terminate"}})


def _close(run: int, workflows: Mapping[str, Workflow], seen: Seens) -> None:
    """Workflows with which nobody has anything to do any more."""
    ended = Run.objects.filter(pk=run).exclude(ended_at=None).exists()
    for name, workflow in workflows.items():
        found = seen.get(name)
        if workflow.uid and ended and (found is None or found.ended):
            Workflow.objects.filter(pk=workflow.pk).update(open=False)


# --- what is not there ----------------------------------------------------------------------------------------------


def vanished(workflow: Workflow) -> None:
    """Somebody deleted it: what it did at that moment is found out, what it has done stays, the rest is submitted
    anew."""
    with transaction.atomic():
        changes = Changes(lock(workflow.run_id))
        Workflow.objects.filter(pk=workflow.pk).update(phase="gone", open=False)
        names = [stage for stages in workflow.tasks.values() for stage in stages]
        words = f"the Workflow {workflow.name} was deleted from the cluster; finding out what became of the work"
        for stage in Stage.objects.filter(run=workflow.run_id, name__in=names, state=State.RUNNING):
            Attempt.objects.filter(stage=stage, open=True).update(state=State.UNKNOWN, worker="", lease_until=None)
            changes.move(stage.pk, stage.name, stage.state, State.UNKNOWN, code="lost", reason=words)
        if changes.run.ended_at is None:
            changes.say(
                events.Noticed(what="deleted", text=f"the Workflow {workflow.name} was deleted from the cluster")
            )
        advance_locked(changes.run, changes)


def away(run: int, words: str) -> None:
    """The cluster does not answer: what is ready waits for it."""
    with transaction.atomic():
        changes = Changes(lock(run))
        ready = Stage.objects.filter(run=run, state=State.QUEUED).exclude(reason_code__in=("stop", "engine", "resume"))
        for stage in ready:
            if stage.reason_code != "plan" and not _has_attempt(stage):
                changes.move(stage.pk, stage.name, stage.state, State.WAITING, code=Reason.ENGINE, reason=words)
        advance_locked(changes.run, changes)


def back(run: int) -> None:
    """The cluster answers again."""
    with transaction.atomic():
        changes = Changes(lock(run))
        for stage in Stage.objects.filter(run=run, state=State.WAITING, reason_code=Reason.ENGINE):
            if not _has_attempt(stage):
                changes.move(stage.pk, stage.name, stage.state, State.QUEUED)
        advance_locked(changes.run, changes)
