"""Take a run as far as it can go by itself: snapshot, decide, apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import F, QuerySet

from .. import dag, events, snapshots
from ..models import Environment, Run, Stage
from ..states import ENDED, MIRRORED, RUN_ENDED, Reason, State
from ..votes import asks
from .changes import Changes


def lock(run: int, *, wait: bool = True) -> Run:
    """The run's row, locked until the transaction ends. Every change of a run starts here. Without `wait`, a run that
    is locked already is not found: Run.DoesNotExist."""
    runs = Run.objects.select_for_update(of=("self",), skip_locked=not wait)
    return runs.select_related("pipeline").get(pk=run)


@dataclass(frozen=True, slots=True)
class Held:
    """A locked run, and the key and position of the stage by whose attempt it was found. `waited`: somebody else had
    the lock first."""

    run: Run
    stage: int
    position: int
    waited: bool


def lock_of(attempt: int) -> Held:
    """As `lock`, by an attempt of one of the run's stages."""
    runs = Run.objects.filter(stages__attempts=attempt)
    runs = runs.annotate(_stage=F("stages"), _position=F("stages__position"))
    try:
        run, waited = runs.select_for_update(of=("self",), skip_locked=True).get(), False
    except Run.DoesNotExist:
        run, waited = runs.select_for_update(of=("self",)).get(), True
    return Held(run, run._stage, run._position, waited)


def advance(run: int) -> None:
    """Safe to call at any time, any number of times."""
    with transaction.atomic():
        locked = lock(run)
        advance_locked(locked, Changes(locked))


def advance_locked(run: Run, changes: Changes) -> None:
    """As `advance`, within a transaction that holds the run's lock, saving `changes` too."""
    take_on(run, changes)
    changes.save()


def take_on(run: Run, changes: Changes, rows: list[snapshots.Row] | None = None) -> snapshots.Loaded:
    """Add to `changes`, not saved yet, what follows from them; returns the run as it is then. `rows` are the run's
    stages where they are known."""
    loaded = snapshots.load(run, changes.now, changes, rows)
    for decision in (dag.let_go if run.engine == MIRRORED else dag.decide)(loaded.snapshot):
        _APPLY[decision.do](loaded, changes, decision)
    _release_locks(loaded)
    _set_run_state(loaded, changes)
    return loaded


def _move(
    loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision, to: State, *, code: str = "", reason: str = "",
    due_at: datetime | None = None,
) -> None:  # fmt: skip
    row = loaded.rows[decision.position]
    name = loaded.graph.nodes[decision.position].name
    changes.move(row.id, name, row.state, to, code=code, reason=reason, due_at=due_at)
    changes.show(row.id, row)


def _plan(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
    _move(loaded, changes, decision, State.QUEUED, code="plan", reason=decision.reason)


def _ask(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
    gate = loaded.definitions[decision.position]["gate"]
    due = changes.now + timedelta(seconds=gate["expires"]) if gate.get("expires") else None
    words = asks(team["team"] for team in gate["teams"])
    _move(loaded, changes, decision, State.WAITING, code=Reason.APPROVAL, reason=words, due_at=due)
    _replace_older(loaded, decision)


def _wait(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
    environment = loaded.graph.nodes[decision.position].environment or ""
    due = loaded.window_ends.get(environment) if decision.code == Reason.WINDOW else None
    row = loaded.rows[decision.position]
    if row.state == State.WAITING and row.reason_code == decision.code:
        changes.reword(row.id, decision.code, decision.reason, due_at=due)
        return changes.show(row.id, row)
    _move(loaded, changes, decision, State.WAITING, code=decision.code, reason=decision.reason, due_at=due)
    if loaded.run.trigger == "rollback" and decision.code == Reason.LOCK:
        holder = loaded.environments[environment].holder_id
        if holder is not None:
            transaction.on_commit(partial(advance, holder))  # it makes room where it only waits itself
    return _replace_older(loaded, decision)


def _queue(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
    environment = loaded.environments.get(decision.code)
    if environment is not None and environment.holder_id != loaded.run.pk:
        newer = _newer_in(loaded, environment)
        if newer is not None:
            transaction.on_commit(partial(supersede, loaded.run.pk, by=newer))
            words = f"the newer run #{newer.number} has {environment.name} already"
            return _wait(loaded, changes, dag.Decision(decision.position, dag.Do.WAIT, words, Reason.LOCK))
        got = Environment.objects.filter(pk=environment.pk, holder=None).update(holder=loaded.run)
        if not got:
            held = dag.Decision(decision.position, dag.Do.WAIT, "another run was quicker", Reason.LOCK)
            return _wait(loaded, changes, held)
        environment.holder_id = loaded.run.pk
        _replace_older(loaded, decision)
    return _move(loaded, changes, decision, State.QUEUED)


def _end(to: State) -> Callable[[snapshots.Loaded, Changes, dag.Decision], None]:
    def apply(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
        _move(loaded, changes, decision, to, reason=decision.reason)

    return apply


def _stop(loaded: snapshots.Loaded, changes: Changes, decision: dag.Decision) -> None:
    Stage.objects.filter(pk=loaded.rows[decision.position].id).update(stop_requested=loaded.run.stopping)
    _move(loaded, changes, decision, State.QUEUED, code="stop", reason=decision.reason)


_APPLY = {
    dag.Do.PLAN: _plan,
    dag.Do.ASK: _ask,
    dag.Do.WAIT: _wait,
    dag.Do.QUEUE: _queue,
    dag.Do.SKIP: _end(State.SKIPPED),
    dag.Do.OMIT: _end(State.OMITTED),
    dag.Do.CANCEL: _end(State.CANCELED),
    dag.Do.STOP: _stop,
}


def _newer_in(loaded: snapshots.Loaded, environment: Environment) -> Run | None:
    """A newer run that got to this environment first, where only the newest counts: an older one must not undo it."""
    if environment.concurrency != "newest" or loaded.run.trigger == "rollback" or holds_a_lock(loaded.run):
        return None
    newer = Run.objects.filter(
        pipeline=loaded.run.pipeline_id, number__gt=loaded.run.number, stages__environment=environment.name,
        stages__started_at__isnull=False,
    )  # fmt: skip
    return newer.order_by("-number").first()


def _replace_older(loaded: snapshots.Loaded, decision: dag.Decision) -> None:
    """Where the newest run replaces older ones, those that only wait for this environment make way."""
    name = loaded.graph.nodes[decision.position].environment
    environment = loaded.environments.get(name or "")
    if environment is None or environment.concurrency != "newest":
        return
    older = (
        Stage.objects.filter(
            run__pipeline=loaded.run.pipeline_id,
            run__number__lt=loaded.run.number,
            run__stopping="",
            environment=environment.name,
            state=State.WAITING,
        )
        .exclude(run=environment.holder_id)
        .values_list("run", flat=True)
        .distinct()
    )
    for run in list(older):
        transaction.on_commit(partial(supersede, run, by=loaded.run))


def supersede(run: int, *, by: Run) -> None:
    """End a run because a newer one takes its place."""
    with transaction.atomic():
        older = lock(run)
        if older.state in RUN_ENDED or older.stopping or holds_a_lock(older):
            return
        older.stopping, older.superseded_by = "cancel", by
        older.reason = f"superseded by run #{by.number}"
        older.save(update_fields=["stopping", "superseded_by", "reason"])
        changes = Changes(older)
        changes.say(events.RunChanged(state=older.state, reason=older.reason))
        advance_locked(older, changes)


def make_way(run: int, *, for_run: int) -> None:
    """Cancel a run that holds an environment which an older one needs, while it needs one that the older one holds."""
    with transaction.atomic():
        newer = lock(run)
        if newer.state in RUN_ENDED or newer.stopping:
            return
        older = Run.objects.get(pk=for_run)
        newer.stopping = "cancel"
        newer.reason = f"run #{older.number} and it waited for each other's environments; the newer one made way"
        newer.save(update_fields=["stopping", "reason"])
        changes = Changes(newer)
        changes.say(events.RunChanged(state=newer.state, reason=newer.reason))
        advance_locked(newer, changes)


def holds_a_lock(run: Run) -> bool:
    return Environment.objects.filter(holder=run).exists()


def _release_locks(loaded: snapshots.Loaded) -> None:
    """Give back each environment in which this run has nothing left to do, and let the next run know. So it is where it
    has done nothing yet and waits (its plan has changed since it was approved), and where it waits for people while a
    roll back wants to go first: the run asks for the environment again."""
    for name, environment in loaded.environments.items():
        if environment.holder_id != loaded.run.pk:
            continue
        nodes = zip(loaded.graph.nodes, loaded.rows, strict=True)
        there = [row for node, row in nodes if node.environment == name]
        left = [row for row in there if row.state not in ENDED]
        touched = any(row.attempts_made or row.state in ENDED for row in there)
        if left and not (_only_waits(left) and (not touched or _roll_back_waits(loaded.run, name))):
            continue
        Environment.objects.filter(pk=environment.pk, holder=loaded.run).update(holder=None)
        environment.holder_id = None
        transaction.on_commit(partial(wake_next, loaded.run.pipeline_id, name))


def _only_waits(rows: list[snapshots.Row]) -> bool:
    """Whether nothing of these is under way: they have not begun, or ask before they begin."""
    idle = (State.PENDING, State.WAITING)
    return all(row.state in idle and not snapshots.has_begun(row) for row in rows)


def _roll_back_waits(run: Run, environment: str) -> bool:
    return _waiting_for(run.pipeline_id, environment).filter(run__trigger="rollback").exists()


def _waiting_for(pipeline: int, environment: str) -> QuerySet[Stage]:
    """The stages that wait for an environment's lock."""
    return Stage.objects.filter(
        run__pipeline=pipeline, environment=environment, state=State.WAITING, reason_code=Reason.LOCK
    )


def wake_next(pipeline: int, environment: str) -> None:
    """Advance a roll back that waits for an environment's lock, else the run that has waited longest for it."""
    waiting = _waiting_for(pipeline, environment).order_by("run__number").values_list("run", "run__trigger")
    runs = [run for run, trigger in waiting if trigger == "rollback"] or [run for run, _ in waiting[:1]]
    if runs:
        advance(runs[0])


def _set_run_state(loaded: snapshots.Loaded, changes: Changes) -> None:
    run = loaded.run
    state = dag.run_state(loaded.graph, [row.state for row in loaded.rows], run.stopping)
    if state == run.state or (run.engine == MIRRORED and (state in RUN_ENDED or run.state in RUN_ENDED)):
        return  # it ends as its Workflow does
    changes.move_run(state, ended_at=changes.now if state in RUN_ENDED else None)
