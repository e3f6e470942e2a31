"""Runs that show a Workflow of Argo as it is. What its nodes do is written down here; when they do it is Argo's to
decide, save at gates, which are the portal's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from teams import audit
from teams.models import User
from teams.policy import Action

from .. import events
from ..definition.model import Definition, StageDef
from ..definition.ownership import guarded_changes
from ..executors.base import Plan
from ..models import AdoptedWorkflow, Attempt, DefinitionVersion, Pipeline, Run, Stage, new_stage
from ..states import ENDED, MIRRORED, RUN_ENDED, TRANSITIONS, Reason, RunState, State
from ..votes import asks
from .actions import judge, run_subject, wrote
from .advance import advance_locked, lock
from .changes import Changes
from .errors import Conflict, NotAllowed
from .push import Push
from .start import new_run

BREACH = "breach"
_AWAY = "the cluster does not answer, so this is how it was last seen: "


@dataclass(frozen=True, slots=True)
class Where:
    """A Workflow in a cluster. `uid` is "" until it was submitted."""

    place: str
    cluster: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """Where a stage's node is. `plan` is what a gate that waits is asked about; `by` is who else ended it, as far as
    the cluster tells."""

    state: State
    code: str = ""
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    done: int = 0
    total: int = 0
    plan: Plan | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    state: RunState
    reason: str = ""


def begin(
    *,
    pipeline: Pipeline,
    push: Push,
    stages: Sequence[StageDef],
    where: Where,
    manifest: Mapping[str, Any],
    diff: str = "",
    ours: bool = True,
    adoptable: bool = False,
    definition: DefinitionVersion | None = None,
) -> Run:
    """A run whose stages stand as nothing has happened yet. Whoever keeps Workflows submits it, if it is ours."""
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        run = new_run(pipeline, push)
        run.engine, run.definition = MIRRORED, definition
        run.save(update_fields=["engine", "definition"])
        AdoptedWorkflow.objects.create(
            run=run, **asdict(where), manifest=dict(manifest), diff=diff, ours=ours, governed=ours, adoptable=adoptable
        )
        Stage.objects.bulk_create(
            new_stage(run, position, _plain(stage)) for position, stage in enumerate(_exits_last(stages))
        )
        audit.write(
            actor=run.requested_by.username if run.requested_by else push.author,
            action="start",
            target=f"run:{pipeline.slug}/{run.number}",
            trigger=push.trigger,
            workflow=f"{where.cluster}/{where.namespace}/{where.name}",
        )
        changes = Changes(lock(run.pk))
        changes.say(events.RunChanged(state=RunState.RUNNING))
        changes.save()
        run.refresh_from_db()
    return run


def _exits_last(stages: Sequence[StageDef]) -> list[StageDef]:
    return sorted(stages, key=lambda stage: stage.on_exit)


def _plain(stage: StageDef) -> dict[str, Any]:
    data = asdict(stage)
    data["retry"]["on"] = sorted(data["retry"]["on"])
    return data


def remember(
    pipeline: Pipeline, user: User, text: str, definition: Definition, before: Definition | None
) -> DefinitionVersion:
    """Keep who owns what. What it takes from a team has to be submitted by somebody of that team. Raises NotAllowed."""
    changes = guarded_changes(before, definition) if before else ()
    actor = user.as_actor()
    lost = sorted({change.team for change in changes if not actor.works_in(change.team)})
    if lost:
        said = "; ".join(
            f"{one.stage}: {one.field} from {one.before or 'nothing'} to {one.after or 'nothing'}"
            for one in changes
            if one.team in lost
        )
        words = f"It takes something from {' and '.join(lost)}, who have to submit it themselves: {said}."
        audit.write(
            actor=user.username, action="start", target=f"pipeline:{pipeline.slug}", allowed=False, reason=words
        )
        raise NotAllowed(words)
    version, _ = DefinitionVersion.objects.update_or_create(
        pipeline=pipeline,
        digest=definition.digest,
        defaults={"text": text, "commit": "", "accepted_at": timezone.now()},
    )
    return version


def adopt(*, run: int, user: User, reason: str = "") -> Run:
    """Make the gates of a Workflow that somebody submitted otherwise the portal's. Raises NotAllowed, Conflict."""
    row = Run.objects.select_related("pipeline").get(pk=run)
    judge(user, Action.CANCEL, run_subject(row, user), f"run:{row.pipeline.slug}/{row.number}")
    with transaction.atomic():
        changes = Changes(lock(run))
        adopted = AdoptedWorkflow.objects.filter(run=run).first()
        if adopted is None or adopted.governed:
            raise Conflict("There is nothing to adopt: this run is the portal's already.")
        if not adopted.adoptable:
            raise Conflict("connections.yaml only lets this Workflow be watched.")
        if changes.run.state in RUN_ENDED:
            raise Conflict(f"This run has ended already: it is {changes.run.state}.")
        AdoptedWorkflow.objects.filter(pk=adopted.pk).update(governed=True)
        wrote(changes, user, "adopt", None, reason)
        changes.save()
    return Run.objects.get(pk=run)


# --- what the cluster says ------------------------------------------------------------------------------------------


def observe(*, run: int, seen: Mapping[str, Observed], ending: Ending | None = None) -> None:
    """Bring the stages, by name, to where their nodes are. Safe to repeat; says nothing where nothing has changed."""
    with transaction.atomic():
        changes = Changes(lock(run))
        if changes.run.state in RUN_ENDED:
            return
        governed = changes.run.adopted.governed
        for stage in Stage.objects.filter(run=run).order_by("position"):
            if (found := seen.get(stage.name)) is not None:
                _bring(stage, found, changes, governed=governed)
            if ending is not None:
                _close(stage, seen.get(stage.name), ending, changes)
        if ending is not None:
            _end(changes, ending)
            AdoptedWorkflow.objects.filter(run=run).update(open=False)
            changes.save()
        else:
            advance_locked(changes.run, changes)


def _bring(stage: Stage, found: Observed, changes: Changes, *, governed: bool) -> None:
    if found.total and (stage.progress.get("done"), stage.progress.get("total")) != (found.done, found.total):
        made = events.ProgressMade(
            text=f"{found.done} of {found.total} items have ended", done=found.done, total=found.total
        )
        stage.progress = stage.progress | asdict(made)
        Stage.objects.filter(pk=stage.pk).update(progress=stage.progress)
        changes.say(made, stage=stage.pk)
    if stage.gated and (stage.state == State.REJECTED or _is_let_go(stage, found)):
        return
    if stage.gated and found.code == Reason.APPROVAL and found.plan is not None:
        _ask(stage, found.plan, changes, governed=governed)
    elif stage.gated and governed and found.state == State.SUCCEEDED and stage.state in (State.PENDING, State.WAITING):
        _breach(stage, found, changes)
    elif stage.state != found.state:
        _walk(stage, found, changes)
    elif found.reason != stage.reason and found.state not in ENDED and found.reason:
        stage.reason = found.reason
        Stage.objects.filter(pk=stage.pk).update(reason=found.reason, reason_code=found.code)
        changes.say(events.StageChanged(state=found.state, code=found.code, reason=found.reason), stage=stage.pk)


def _is_let_go(stage: Stage, found: Observed) -> bool:
    """Approved, and its node not resumed yet."""
    return stage.state == State.QUEUED and found.plan is not None and found.plan.digest == stage.plan_digest


def _ask(stage: Stage, plan: Plan, changes: Changes, *, governed: bool) -> None:
    """A gate has been reached: whom it asks, and about what. In a recursion it is reached again and again."""
    digest = plan.digest
    if stage.state == State.WAITING and stage.plan_digest == digest:
        return
    if stage.state == State.WAITING and governed:
        _breach(stage, Observed(State.SUCCEEDED), changes)
    elif stage.state != State.PENDING and stage.state not in ENDED:
        _walk(stage, Observed(State.SUCCEEDED), changes)
    if stage.state in ENDED:
        _walk(stage, Observed(State.PENDING), changes)
    gate = stage.definition["gate"]
    due = changes.now + timedelta(seconds=gate["expires"]) if gate.get("expires") else None
    changes.say(events.PlanMade(digest=digest, summary=plan.summary), stage=stage.pk)
    changes.move(
        stage.pk, stage.name, stage.state, State.WAITING, code=Reason.APPROVAL, due_at=due,
        reason=asks(team["team"] for team in gate["teams"]), plan=plan.as_dict(), plan_digest=digest, ended_at=None,
    )  # fmt: skip
    stage.state = State.WAITING


def _breach(stage: Stage, found: Observed, changes: Changes) -> None:
    """Its node was resumed past the portal."""
    who = f" by {found.by}" if found.by else ""
    words = f"it was resumed on the cluster{who}, and nobody had approved it here"
    _walk(stage, Observed(State.SUCCEEDED, BREACH, words, found.started_at, found.ended_at), changes)
    run = changes.run
    changes.say(events.Noticed(what=BREACH, text=f"{stage.name}: {words}"), stage=stage.pk)
    audit.write(
        actor=found.by or "somebody on the cluster", action="resume", allowed=False, reason=words,
        target=f"stage:{run.pipeline.slug}/{run.number}/{stage.name}",
    )  # fmt: skip


def _walk(stage: Stage, found: Observed, changes: Changes) -> None:
    """Move it by steps that are allowed: a node may have gone through several states since it was last seen."""
    for state in _way(State(stage.state), found.state):
        last = state is found.state
        fields: dict[str, Any] = {}
        if found.started_at and stage.started_at is None:
            fields["started_at"] = stage.started_at = found.started_at
        if last and state in ENDED:
            fields["ended_at"] = found.ended_at or changes.now
        changes.move(
            stage.pk, stage.name, stage.state, state,
            code=found.code if last else "", reason=found.reason if last else "", **fields,
        )  # fmt: skip
        stage.state = state


def _way(old: State, new: State) -> tuple[State, ...]:
    """The shortest allowed way; () where it stands there already."""
    if old == new:
        return ()
    ways: list[tuple[State, ...]] = [()]
    seen = {old}
    for way in ways:
        here = way[-1] if way else old
        for state in (State.QUEUED, State.RUNNING, *TRANSITIONS[here]):
            if state in seen or state not in TRANSITIONS[here]:
                continue
            if state == new:
                return (*way, state)
            seen.add(state)
            ways.append((*way, state))
    return ()


def _close(stage: Stage, found: Observed | None, ending: Ending, changes: Changes) -> None:
    """The Workflow has ended: what never began is left out, what had begun was stopped with it."""
    if stage.state in ENDED:
        return
    began = stage.state in (State.RUNNING, State.UNKNOWN)
    if began and ending.state is RunState.ERROR:
        to, words = State.ERROR, ending.reason
    elif stage.state == State.PENDING and found is None:
        to, words = State.OMITTED, "the Workflow ended before it began"
    else:
        to, words = State.CANCELED, ending.reason or "the Workflow has ended"
    _walk(stage, Observed(to, "", words), changes)


def _end(changes: Changes, ending: Ending) -> None:
    run, state = changes.run, ending.state
    if state is RunState.FAILED:
        if Stage.objects.filter(run=run, state=State.REJECTED).exists():
            state = RunState.REJECTED
        elif run.stopping:
            state = RunState.CANCELED
    if ending.reason and not run.stopping and ending.reason != run.reason:
        run.reason = ending.reason
        Run.objects.filter(pk=run.pk).update(reason=run.reason)
    changes.move_run(state, ended_at=changes.now)


def away(*, run: int, words: str) -> None:
    """Its cluster does not answer. "" once it does again."""
    with transaction.atomic():
        changes = Changes(lock(run))
        said = _AWAY + words if words else ""
        if changes.run.state in RUN_ENDED or changes.run.stopping or changes.run.reason == said:
            return
        if not words and not changes.run.reason.startswith(_AWAY):
            return
        changes.run.reason = said
        Run.objects.filter(pk=run).update(reason=said)
        changes.say(events.RunChanged(state=changes.run.state, reason=said))
        changes.save()


def submitted(*, run: int, uid: str) -> None:
    AdoptedWorkflow.objects.filter(run=run, uid="").update(uid=uid)


def told(*, run: int, stage: str, node: str, text: str, observed: Observed) -> None:
    """Keep the output of one node, as an attempt at its stage."""
    with transaction.atomic():
        changes = Changes(lock(run))
        adopted = AdoptedWorkflow.objects.get(run=run)
        row = Stage.objects.filter(run=run, name=stage).first()
        if row is None or node in adopted.told:
            return
        number = row.attempts_made + 1
        Attempt.objects.create(
            stage=row, number=number, key=f"w{adopted.pk}-{node}"[-80:], open=False, worker=f"argo:{node}",
            state=observed.state, reason=observed.reason, started_at=observed.started_at or changes.now,
            ended_at=observed.ended_at or changes.now,
        )  # fmt: skip
        Stage.objects.filter(pk=row.pk).update(attempts_made=number)
        AdoptedWorkflow.objects.filter(pk=adopted.pk).update(told=[*adopted.told, node])
        if text:
            changes.say(events.LogWritten(text=text), stage=row.pk, attempt=number)
        changes.save()
