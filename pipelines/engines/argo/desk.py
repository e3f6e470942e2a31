"""What pods come for: a stage to do, and somebody who takes their reports. `pipelines.runs` writes them down, under
the same rules as those of a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from pipelines import events, runs
from pipelines.engines import measurements
from pipelines.engines.local.claim import Claimed, take
from pipelines.engines.local.spec import spec_of
from pipelines.engines.local.worker import given_up, wanted_of
from pipelines.engines.work import LeaseLost
from pipelines.executors.base import Artifact, Outcome, Plan, Progress
from pipelines.executors.kubernetes import content
from pipelines.keyfile import key_of
from pipelines.models import Attempt, Stage, Workflow
from pipelines.performance import tokens
from pipelines.performance.verdict import Reading
from pipelines.runs.advance import lock, lock_of
from pipelines.runs.changes import Changes
from pipelines.runs.record import unknowable
from pipelines.states import ENDED, Reason, State

from .identity import Pod, Stranger, argo_settings, attempt_token
from .manifests import AGAIN
from .manifests import ENDED as ENDED_BADLY
from .runner import readings

log = logging.getLogger(__name__)

SOON, LATER = 1.0, 5.0  # seconds until a pod asks again
BREACH = "breach"
# What executors digest secrets and make tokens with: the same in each pod as in a worker, else no plan stays the same.
KEYS = {"rollout": (content.FILE, tokens.FILE), "ansible": (content.FILE,)}

Answer = dict[str, Any]


def claim(pod: Pod) -> Answer:
    """What a pod shall do now: `work`, with everything that it needs; `wait` some seconds and ask again; or `end`, with
    the code that tells Argo how. Raises Stranger."""
    workflow = Workflow.objects.select_related("run").filter(name=pod.workflow).first()
    if workflow is None or (workflow.uid and workflow.uid != pod.workflow_uid):
        raise Stranger(f"The Workflow {pod.workflow} is none of ours.")
    if pod.stage not in {stage for stages in workflow.tasks.values() for stage in stages}:
        raise Stranger(f"The Workflow {pod.workflow} has no stage {pod.stage}.")
    with transaction.atomic():
        changes = Changes(lock(workflow.run_id))
        stage = Stage.objects.get(run=workflow.run_id, name=pod.stage)
        stage.run = changes.run
        _check_account(pod, stage)
        answer = _claimed(pod, workflow, stage, changes)
        changes.save()
        return answer


def _check_account(pod: Pod, stage: Stage) -> None:
    """A team's stage is done by that team's account, so no pod takes what another team owns."""
    argo = argo_settings()
    wanted = argo.account.replace("{team}", stage.owner) if argo else ""
    if pod.account != wanted:
        raise Stranger(
            f"Stage {stage.name} belongs to {stage.owner}, whose account is {wanted}; yours is {pod.account}."
        )


def _claimed(pod: Pod, workflow: Workflow, stage: Stage, changes: Changes) -> Answer:
    if stage.state in ENDED:
        return _end(0 if stage.state in (State.SUCCEEDED, State.SKIPPED) else ENDED_BADLY, f"It is {stage.state}.")
    if held := _mine(pod, stage):
        return _work(held)
    if pod.phase == "plan" and (stage.plan_digest or stage.reason_code not in ("plan", Reason.ENGINE)):
        return _end(0, "Its plan is there.") if stage.plan_digest else _wait(SOON, "Its plan is not asked for.")
    if stage.state == State.WAITING and stage.reason_code == Reason.ENGINE and not stage.due_at:
        changes.move(stage.pk, stage.name, stage.state, State.QUEUED)  # the cluster was away, and its pod is here
        changes.show(stage.pk, stage)
    if stage.state == State.RUNNING:
        # Argo starts another pod once it has seen the former one end.
        _lose(stage, changes)
    if stage.reason_code == "retry" and Attempt.objects.filter(stage=stage, worker=pod.worker).exists():
        return _end(AGAIN, "Another pod tries it again.")
    if stage.state == State.QUEUED or (stage.state == State.UNKNOWN and stage.reason_code == "lost"):
        if stage.due_at and stage.due_at > changes.now:
            return _wait((stage.due_at - changes.now).total_seconds(), stage.reason)
        return _work(take(stage, pod.worker, changes, leased=False))
    if stage.on_exit and stage.state == State.PENDING:
        return _end(AGAIN if changes.run.stopping else 0, "Others of its run are not done yet.")
    _look_for_a_breach(workflow, stage, changes)
    return _wait(SOON if stage.state == State.PENDING else LATER, stage.reason or f"It is {stage.state}.")


def _mine(pod: Pod, stage: Stage) -> Claimed | None:
    """The attempt that this pod was given before, when it did not hear the answer."""
    attempt = Attempt.objects.filter(stage=stage, open=True, worker=pod.worker, state=State.RUNNING).first()
    if attempt is None or stage.state != State.RUNNING:
        return None
    return Claimed(
        attempt.pk, attempt.fence, attempt.key, attempt.number, attempt.phase, stage, stage.run, False,
        attempt.started_at,
    )  # fmt: skip


def _lose(stage: Stage, changes: Changes) -> None:
    """Take the attempt from the pod that had it, in the same transaction as the next one takes it."""
    Attempt.objects.filter(stage=stage, open=True).update(state=State.UNKNOWN, worker="", lease_until=None)
    changes.move(stage.pk, stage.name, stage.state, State.UNKNOWN, code="lost", reason="its pod is gone")
    changes.show(stage.pk, stage)


def _look_for_a_breach(workflow: Workflow, stage: Stage, changes: Changes) -> None:
    """A pod that is there before its gate was opened: somebody resumed the Workflow past the portal."""
    waits = stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL and "question" not in stage.progress
    if not (waits and stage.gated) or stage.progress.get(BREACH) == workflow.name or stage.attempts_made:
        return
    words = f"somebody resumed {workflow.name} on the cluster before {stage.name} was approved; nothing was run"
    changes.say(events.Noticed(what=BREACH, text=words), stage=stage.pk)
    Stage.objects.filter(pk=stage.pk).update(progress=stage.progress | {BREACH: workflow.name})
    log.warning("Breach: %s", words)


def notice_breach(workflow: Workflow, stage: int) -> None:
    """A door of this stage is open that we did not open."""
    with transaction.atomic():
        changes = Changes(lock(workflow.run_id))
        row = Stage.objects.get(pk=stage)
        row.run = changes.run
        _look_for_a_breach(workflow, row, changes)
        changes.save()


def _work(claimed: Claimed) -> Answer:
    stage = claimed.stage
    attempt = Attempt.objects.get(pk=claimed.attempt)
    return {
        "do": "work",
        "token": attempt_token(claimed.attempt, claimed.fence),
        "key": claimed.key,
        "number": claimed.number,
        "planning": claimed.phase == Attempt.Phase.PLAN,
        "probe": claimed.probe,
        "started_at": claimed.started_at.isoformat(),
        "stop": stage.stop_requested,
        "commands": list(stage.commands),
        "given_up": given_up(stage.pk) if claimed.number > 1 else [],
        "reported": attempt.reported,
        "spec": asdict(spec_of(claimed)),
        "keys": {name: key_of(Path(settings.HOME) / name).decode() for name in KEYS.get(stage.kind, ())},
    }


def _wait(seconds: float, why: str) -> Answer:
    return {"do": "wait", "seconds": round(max(0.2, seconds), 3), "why": why}


def _end(code: int, why: str) -> Answer:
    return {"do": "end", "code": code, "why": why}


# --- reports --------------------------------------------------------------------------------------------------------


def report(attempt: int, fence: int, first: int, reports: Sequence[Mapping[str, Any]]) -> Answer:
    """Write down reports, of which the first one has the number `first`, counted from 1. What was taken before is not
    written twice. Raises StaleResult."""
    taken = 0
    for number, item in enumerate(reports, start=first):
        taken = _take_one(attempt, fence, number, item)
    return {"reported": taken}


def _take_one(attempt: int, fence: int, number: int, item: Mapping[str, Any]) -> int:
    """Returns how many have been taken."""
    with transaction.atomic():
        lock_of(attempt)
        row = Attempt.objects.only("reported", "fence", "open", "key").get(pk=attempt)
        if row.fence == fence and number <= row.reported:
            return row.reported
        if row.fence == fence and number > row.reported + 1:
            return row.reported  # one in between has not come yet
        _REPORT[item["kind"]](attempt, fence, item)
        Attempt.objects.filter(pk=attempt).update(reported=number)
        return number


def _progressed(attempt: int, fence: int, item: Mapping[str, Any]) -> None:
    runs.progressed(attempt, fence, Progress(**item["progress"]))


def _produced(attempt: int, fence: int, item: Mapping[str, Any]) -> None:
    runs.produced(attempt, fence, Artifact(**item["artifact"]))


def _planned(attempt: int, fence: int, item: Mapping[str, Any]) -> None:
    runs.planned(attempt, fence, Plan(**item["plan"]))


_REPORT = {
    "log": lambda attempt, fence, item: runs.wrote(attempt, fence, item["text"]),
    "progress": _progressed,
    "produced": _produced,
    "planned": _planned,
    "unknowable": lambda attempt, fence, item: unknowable(attempt, fence, item["reason"]),
    "outcome": lambda attempt, fence, item: runs.outcome(attempt, fence, Outcome(**item["outcome"])),
}


def look(attempt: int, fence: int) -> Answer:
    """What people want of the stage, and a sign that its pod is there. Raises StaleResult."""
    try:
        wanted = wanted_of(attempt, fence)
    except LeaseLost as gone:
        raise runs.StaleResult(str(gone)) from None
    Attempt.objects.filter(pk=attempt, fence=fence).update(heartbeat_at=timezone.now())
    return {"stop": wanted.stop, "commands": list(wanted.commands)}


def may_read(attempt: int, fence: int, digest: str) -> bool:
    """Whether this attempt works with that content: only what the stages before it made."""
    row = _under_way(attempt, fence)
    claimed = Claimed(row.pk, fence, row.key, row.number, row.phase, row.stage, row.stage.run, False, row.started_at)
    spec = spec_of(claimed)
    known = [*spec.artifacts.values(), *([spec.released] if spec.released else [])]
    return any(artifact.digest == digest for artifact in known)


def measured(attempt: int, fence: int, release: str, sources: Sequence[str], since: float, until: float) -> Answer:
    """What was measured of a release in the environment of this attempt's stage. Raises StaleResult."""
    environment = _under_way(attempt, fence).stage.environment
    read = measurements.of(environment, lambda read: read())
    return readings.as_json(read(release, sources, since, until) if environment else Reading())


def _under_way(attempt: int, fence: int) -> Attempt:
    row = Attempt.objects.select_related("stage__run__pipeline").get(pk=attempt)
    if not row.open or row.fence != fence:
        raise runs.StaleResult("Another worker goes on with it.")
    return row
