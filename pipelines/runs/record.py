"""What workers report. Each report names the attempt and its fencing token; one with a stale token is refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from django.db import transaction

from .. import dag, events
from ..executors.base import Artifact, Outcome, Plan, Progress
from ..models import Approval, Attempt, Environment, Release, Run, Stage
from ..snapshots import Loaded, Row, graph_of
from ..states import Reason, State
from . import accept
from .advance import Held, advance_locked, lock_of, take_on
from .changes import Changes
from .errors import StaleResult
from .questions import question

ENGINE_BACKOFF = (2, 60)  # seconds: the first wait for an engine that is away, and the longest
ENGINE_ASKS_AT_MOST = 600  # seconds for which an engine is left alone where it asks for that (Retry-After)
WAITED = 0.005  # seconds; SQLite, whose one lock is had when a transaction begins, does not say that it was taken

# What most reports are judged by; the rest of the rows is read when it is asked for.
_READ = (
    "open", "fence", "key", "number", "phase",
    "stage__run", "stage__name", "stage__kind", "stage__environment", "stage__state",
    "stage__reason", "stage__progress", "stage__resumes", "stage__attempts_made", "stage__extra_attempts",
    "stage__stop_requested",
)  # fmt: skip


def _hold(attempt: int, fence: int) -> tuple[Attempt, Stage, Run]:
    """Lock the run and make sure that the attempt is still the caller's."""
    run = lock_of(attempt).run
    return *_mine(run, attempt, fence), run


def _mine(run: Run, attempt: int, fence: int) -> tuple[Attempt, Stage]:
    """Raises StaleResult."""
    row = Attempt.objects.select_related("stage").only(*_READ).get(pk=attempt)
    if not row.open or row.fence != fence:
        raise StaleResult(
            f"Attempt {row.key} was taken over: this report has token {fence}, the present one is {row.fence}"
            f"{'' if row.open else ', and it has ended'}. Nothing was recorded."
        )
    row.stage.run = run
    return row, row.stage


def wrote(attempt: int, fence: int, text: str, stay: Stay | None = None) -> None:
    """Append output to the log."""
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        before = run.last_seq
        events.append_locked(run, [events.New(events.LogWritten(text=text), stage.pk, row.number)])
    if stay:
        stay.told(before, run.last_seq)


def progressed(attempt: int, fence: int, progress: Progress) -> None:
    payload = events.ProgressMade(
        text=progress.text, done=progress.done, total=progress.total, data=dict(progress.data)
    )
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        Stage.objects.filter(pk=stage.pk).update(progress=asdict(payload))
        events.append(run.pk, [events.New(payload, stage.pk, row.number)])


def produced(attempt: int, fence: int, artifact: Artifact) -> None:
    """Keep an artifact; one of the same name replaces it, as when a stage is joined after its worker died."""
    payload = events.ArtifactMade(name=artifact.name, type=artifact.kind, digest=artifact.digest, size=artifact.size)
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        others = [a for a in stage.artifacts if a["name"] != artifact.name]
        same = any(a["name"] == artifact.name and a["digest"] == artifact.digest for a in stage.artifacts)
        Stage.objects.filter(pk=stage.pk).update(artifacts=[*others, asdict(artifact)])
        if not same:
            events.append(run.pk, [events.New(payload, stage.pk, row.number)])


def planned(attempt: int, fence: int, plan: Plan) -> None:
    """Store the plan that a gate's teams will read, and ask them."""
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        changes = Changes(run)
        _close(row, State.SUCCEEDED, "", {}, changes)
        digest = plan.digest
        changes.pass_through(stage.pk, state=State.WAITING, plan=plan.as_dict(), plan_digest=digest)
        changes.say(events.PlanMade(digest=digest, summary=plan.summary), stage=stage.pk, attempt=row.number)
        advance_locked(run, changes)


class Stay(Protocol):
    """A worker that means to go on with the run whose stage it has ended."""

    def told(self, before: int, after: int) -> None:
        """The worker itself has taken the run from one event's number to another, and changed no stage by it."""

    def remembered(self, run: Run) -> list[Row] | None:
        """The run's stages, if the worker knows them to be as it left them."""

    def go_on(self, loaded: Loaded, changes: Changes, *, waited: bool) -> None:
        """Called in the same transaction, with the run as it is now and changes to add to. `waited`: somebody else
        had the run's lock first."""


def outcome(attempt: int, fence: int, result: Outcome, stay: Stay | None = None) -> None:
    """Record how an attempt ended, or what it waits for, and take the run on from there."""
    asked = time.monotonic()
    with transaction.atomic():
        held = lock_of(attempt)
        waited = held.waited or time.monotonic() - asked > WAITED
        changes = Changes(held.run)
        rows = stay.remembered(held.run) if stay else None
        definition = graph_of(held.run)[1][held.position]
        if result.state == "succeeded" and _is_plain(definition):
            _succeeded(attempt, fence, held, definition["name"], result, changes)
        else:
            row, stage = _mine(held.run, attempt, fence)
            _RECORD[result.state](row, stage, result, changes)
        loaded = take_on(held.run, changes, rows)
        if stay:
            stay.go_on(loaded, changes, waited=waited)
        changes.save()


def _is_plain(definition: Mapping[str, Any]) -> bool:
    """Whether nothing but the stages behind it follows from a stage's success."""
    return not definition.get("environment") and definition["name"] != accept.OWNERSHIP_STAGE


def _succeeded(attempt: int, fence: int, held: Held, name: str, result: Outcome, changes: Changes) -> None:
    """The end that most stages come to, in as few statements as it takes."""
    mine = Attempt.objects.filter(pk=attempt, fence=fence, open=True)
    if not mine.update(**_closed(State.SUCCEEDED, result.reason, result.data, changes)):
        _mine(held.run, attempt, fence)  # raises StaleResult
    # An attempt that is open and has our token is of a stage that runs.
    hint = dict(result.retry_hint)
    changes.move(held.stage, name, State.RUNNING, State.SUCCEEDED, reason=result.reason, retry_hint=hint)


def _ended(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    state, reason = State(result.state), result.reason
    if state is State.SUCCEEDED and (overtaken := accept.overtaken(stage)):
        state, reason = State.FAILED, overtaken
    _close(row, state, reason, result.data, changes)
    wait = None if changes.run.stopping else _retry_in(row, stage, state)
    if wait is not None:
        # A plan is made once more; nothing is begun without one.
        code, which = ("plan", "") if _is_planning(row) else ("retry", f"attempt {stage.attempts_made} ")
        changes.move(
            stage.pk, stage.name, stage.state, State.QUEUED,
            code=code, reason=f"{which}{state}: {reason}; next one {_when(wait)}",
            due_at=changes.now + timedelta(seconds=wait) if wait else None, retry_hint=dict(result.retry_hint),
        )  # fmt: skip
        return
    progress = {k: v for k, v in stage.progress.items() if k != "question"}
    changes.move(
        stage.pk, stage.name, stage.state, state,
        reason=reason, retry_hint=dict(result.retry_hint), progress=progress,
    )  # fmt: skip
    if state is State.SUCCEEDED:
        _keep_release(stage)
        accept.ownership_change(stage)


def _when(wait: float) -> str:
    return f"in {wait:g} s" if wait else "now"


def _is_planning(row: Attempt) -> bool:
    return row.phase == Attempt.Phase.PLAN


def _retry_in(row: Attempt, stage: Stage, state: State) -> float | None:
    """Seconds until the next attempt, None if there is none. Plans that fail are counted by themselves."""
    retry = stage.definition.get("retry") or {}
    after = dag.backoff(
        limit=retry.get("limit", 0) + (0 if _is_planning(row) else stage.extra_attempts),
        delay=retry.get("backoff", 0.0),
        factor=retry.get("factor", 2.0),
        maximum=retry.get("maximum", 3600.0),
        on=frozenset(retry.get("on", ())),
    )
    return after(state, _failed_plans(row, stage) if _is_planning(row) else stage.attempts_made)


def _failed_plans(row: Attempt, stage: Stage) -> int:
    """Of the same try at the stage, this one among them."""
    plans = Attempt.objects.filter(stage=stage, phase=Attempt.Phase.PLAN, number=row.number)
    return plans.filter(state__in=(State.FAILED, State.ERROR)).count()


def _close(row: Attempt, state: State, reason: str, data: Mapping[str, Any], changes: Changes) -> None:
    Attempt.objects.filter(pk=row.pk).update(**_closed(state, reason, data, changes))


def _closed(state: State, reason: str, data: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    return {
        "open": False, "state": state, "reason": reason, "data": dict(data), "ended_at": changes.now,
        "lease_until": None,
    }  # fmt: skip


def _canceled(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    """Stopped work ends as what the person who stopped it asked for."""
    _close(row, State.CANCELED, result.reason, result.data, changes)
    ending = _ENDING_OF_A_STOP.get(stage.stop_requested, State.CANCELED)
    words = _why_stopped(stage) if stage.stop_requested else result.reason
    code = BY_HAND if ending is State.SKIPPED else ""
    changes.move(stage.pk, stage.name, stage.state, ending, code=code, reason=words or "canceled", stop_requested="")


# The code of what a person skipped, and not its condition.
BY_HAND = "skip"
# Between why a stage is stopped and why it has not been yet.
_NOT_YET = "; it cannot be stopped yet: "
_ENDING_OF_A_STOP = {"reject": State.REJECTED, "skip": State.SKIPPED}


def _paused(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    """The attempt stays open, without a worker, until somebody of the owning team lets it go on."""
    _park(row)
    progress = stage.progress | {
        "question": question(key=row.key, resumes=stage.resumes, reason=result.reason, data=result.data)
    }
    changes.move(
        stage.pk, stage.name, stage.state, State.WAITING,
        code=Reason.APPROVAL, reason=result.reason, progress=progress,
    )  # fmt: skip


def _engine(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    if stage.stop_requested and changes.run.stopping == "terminate":
        return _given_up(row, stage, result, changes)
    _park(row)
    first, longest = ENGINE_BACKOFF
    waits = stage.progress.get("engine_waits", 0)
    # What asks to be left alone for longer is.
    asked = min(ENGINE_ASKS_AT_MOST, float(result.data.get("retry_after") or 0))
    due = changes.now + timedelta(seconds=max(asked, min(longest, first * 2**waits)))
    state, code, words = State.WAITING, str(Reason.ENGINE), result.reason
    if stage.stop_requested:
        # A worker is to stop it as soon as that can be done; there is nothing to decide about.
        state, code, words = State.QUEUED, "stop", f"{_why_stopped(stage)}{_NOT_YET}{result.reason}"
    return changes.move(
        stage.pk, stage.name, stage.state, state,
        code=code, reason=words, due_at=due, progress=stage.progress | {"engine_waits": waits + 1},
    )  # fmt: skip


def _why_stopped(stage: Stage) -> str:
    return stage.reason.partition(_NOT_YET)[0] or dag.STOPPED.get(stage.stop_requested, "")


def _given_up(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    """Who terminates a run does not wait for an engine that may never come back."""
    words = f"terminated without being stopped, so what it left there is unknown: {result.reason}"
    _close(row, State.ERROR, words, {"given_up": True}, changes)
    changes.move(stage.pk, stage.name, stage.state, State.ERROR, reason=words, stop_requested="")


def _park(row: Attempt) -> None:
    Attempt.objects.filter(pk=row.pk).update(worker="", lease_until=None, state=State.WAITING)


def _changed(row: Attempt, stage: Stage, result: Outcome, changes: Changes) -> None:
    """What would be done is not what was approved: its approvals are void, and a new plan is asked for."""
    _close(row, State.CANCELED, result.reason, result.data, changes)
    void_approvals(stage, result.reason)
    # Nothing was done: it is no try of those that the file allows, nor has the stage begun by it.
    begun = None if stage.started_at == row.started_at else stage.started_at
    changes.pass_through(
        stage.pk, state=State.WAITING, plan_digest="", attempts_made=stage.attempts_made - 1, started_at=begun
    )


def void_approvals(stage: Stage, reason: str) -> None:
    Approval.objects.filter(stage=stage, voided="").update(voided=reason)


_RECORD = {
    "succeeded": _ended,
    "failed": _ended,
    "error": _ended,
    "canceled": _canceled,
    "paused": _paused,
    "engine": _engine,
    "changed": _changed,
}


def lost(attempt: int, fence: int, reason: str, *, quarantine: bool = False) -> None:
    """Contact with an attempt's worker is lost. `quarantine`: it has taken too many workers with it."""
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        changes = Changes(run)
        if quarantine:
            _close(row, State.ERROR, reason, {"given_up": True}, changes)
            changes.move(stage.pk, stage.name, stage.state, State.ERROR, reason=reason)
        else:
            # The next token: whatever the lost worker still says is refused from now on.
            Attempt.objects.filter(pk=row.pk).update(
                state=State.UNKNOWN, fence=fence + 1, worker="", lease_until=None, reason=reason
            )
            changes.move(stage.pk, stage.name, stage.state, State.UNKNOWN, code="lost", reason=reason)
            changes.queued += 1
        advance_locked(run, changes)


def unknowable(attempt: int, fence: int, reason: str) -> None:
    """A probe could not say what became of the work: a person has to look, and retry or cancel the stage."""
    with transaction.atomic():
        row, stage, run = _hold(attempt, fence)
        changes = Changes(run)
        _park(row)
        changes.move(stage.pk, stage.name, stage.state, State.UNKNOWN, code="person", reason=reason)
        advance_locked(run, changes)


def _keep_release(stage: Stage) -> None:
    """Remember what a rollout brought to its environment, and what a promotion declared good."""
    if not stage.environment:
        return
    releases = [a for a in _current_artifacts(stage) if a["kind"] == "release"]
    if not releases:
        return
    environment = Environment.objects.filter(pipeline=stage.run.pipeline_id, name=stage.environment).first()
    if environment is None:
        return
    for artifact in releases:
        name = artifact["meta"].get("release") or artifact["name"]
        if stage.kind == "promote":
            Release.objects.filter(environment=environment, name=name).update(verified_at=stage.run.created_at)
        elif stage.kind == "rollout":
            Release.objects.create(
                environment=environment, name=name, run=stage.run, commit=stage.run.commit, data=artifact
            )


def _current_artifacts(stage: Stage) -> Sequence[dict[str, Any]]:
    return Stage.objects.values_list("artifacts", flat=True).get(pk=stage.pk)
