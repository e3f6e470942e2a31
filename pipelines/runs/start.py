"""A push becomes a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from teams import audit
from teams.models import Team, User

from .. import events
from ..definition.model import Definition, StageDef
from ..definition.parse import Result, parse
from ..definition.placeholders import resolve_stage
from ..definition.report import format_problems
from ..models import Pipeline, Run, Stage, new_stage
from ..states import RunState
from . import accept
from .advance import advance_locked, lock
from .changes import Changes
from .push import PUSHED_BY, Push

TEXT_LIMIT = 300


def understood(text: bytes) -> Result:
    """A pipeline file as this portal's teams make it. Not for within a transaction: a large file takes seconds."""
    return parse(text, teams=set(Team.objects.values_list("slug", flat=True)))


def start(
    *, pipeline: Pipeline, push: Push, text: bytes | None, problem: str = "", result: Result | None = None
) -> Run:
    """Begin a run of the pipeline file `text` (None when there is none, which `problem` explains); `result` is what
    `understood` says of it, for those who call from within a transaction.

    A file with problems, or none, gives a run that has ended in `error` and says why: a push is never lost silently.
    """
    if result is None and text is not None:
        result = understood(text)
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        run = new_run(pipeline, push)
        if result is None or result.definition is None:
            if result is not None and text is not None:
                shown = text.decode(errors="replace")
                problem = format_problems(result.problems, pipeline.definition_path, shown)
            return _refused(run, problem)
        return _begin(run, push, result.definition, (text or b"").decode())


def start_built(*, pipeline: Pipeline, push: Push, stages: tuple[StageDef, ...]) -> Run:
    """Begin a run that no pipeline file describes: a roll back."""
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        run = new_run(pipeline, push)
        _go(run, push, stages)
        return run


def new_run(pipeline: Pipeline, push: Push) -> Run:
    """The row of a run, with the next number of its locked pipeline."""
    Pipeline.objects.filter(pk=pipeline.pk).update(last_number=F("last_number") + 1)
    pipeline.refresh_from_db(fields=["last_number"])
    return Run.objects.create(
        pipeline=pipeline,
        number=pipeline.last_number,
        commit=push.commit,
        ref=push.ref,
        subject=push.subject[:TEXT_LIMIT],
        author=push.author[:TEXT_LIMIT],
        trigger=push.trigger,
        requested_by=push.requested_by or _pusher(push),
        pushers=_pushers_before(pipeline, push),
        rerun_of=push.rerun_of,
        parameters=dict(push.parameters),
    )


def _pushers_before(pipeline: Pipeline, push: Push) -> list[int]:
    """Who pushed this commit before: to run it again makes it nobody else's."""
    if push.trigger in ("push", "rollback"):
        return []
    runs = Run.objects.filter(pipeline=pipeline, commit=push.commit, trigger="push").values_list("requested_by")
    return sorted({key for (key,) in runs.distinct() if key is not None})


def _pusher(push: Push) -> User | None:
    """The person whose push this is where the provider did not say: by the address of who pushed, else of the commit's
    author. Anybody can write any author into a commit, and any name beside an address."""
    _, named, pusher = push.author.partition(PUSHED_BY)
    provided = pusher.split(", ")[0] if named else push.author
    found = re.search(r"<([^>]+)>", provided)
    return User.objects.filter(email__iexact=found.group(1)).first() if found else None


def _refused(run: Run, problem: str) -> Run:
    run.state, run.reason, run.ended_at = RunState.ERROR, problem, timezone.now()
    run.save(update_fields=["state", "reason", "ended_at"])
    events.append(run.pk, [events.New(events.RunChanged(state=run.state, reason=problem))])
    return run


def _begin(run: Run, push: Push, definition: Definition, text: str) -> Run:
    wrong = _parameters(run, definition, push.parameters) or accept.foreign_environment(run.pipeline, definition)
    if wrong:
        return _refused(run, wrong)
    stages = _resolved(run, definition)
    if undeclared := _undeclared(definition, stages):
        return _refused(run, undeclared)
    pipeline = run.pipeline
    run.definition = accept.remember(pipeline, definition, text, push.commit)
    run.engine = definition.engine
    run.save(update_fields=["definition", "engine", "parameters"])
    accepted: Definition | None = definition
    if pipeline.accepted_id != run.definition_id:
        accepted = parse(pipeline.accepted.text).definition if pipeline.accepted else None
    default = push.ref == f"refs/heads/{pipeline.default_branch}"
    held = accept.held_changes(pipeline, accepted, definition, on_default_branch=default)
    if held:
        # Who is asked sees the file's own placeholders, so only the stages behind are filled in.
        stages = _behind(accept.ownership_stage(held, pipeline.owner), stages)
    else:
        accept.accept(run, definition)
    _go(run, push, stages)
    return run


def _parameters(run: Run, definition: Definition, given: Mapping[str, str]) -> str:
    """Fill in the defaults; say what is wrong with what was given, "" if nothing."""
    known = {parameter.name: parameter for parameter in definition.parameters}
    if unknown := sorted(set(given) - set(known)):
        return f"Unknown parameter {', '.join(unknown)}; the file has {', '.join(known) or 'none'}."
    run.parameters = {name: str(given.get(name, parameter.default)) for name, parameter in known.items()}
    for name, parameter in known.items():
        if parameter.required and name not in given:
            return f"Parameter {name} is required; give it a value."
        if parameter.choices and run.parameters[name] not in parameter.choices:
            choices = ", ".join(parameter.choices)
            return f"Parameter {name} is {run.parameters[name]!r}; expected one of {choices}."
    return ""


def _undeclared(definition: Definition, stages: Sequence[StageDef]) -> str:
    """Why a stage's environment cannot be what this run makes of it, "" if all can: one that the file does not declare
    may be anybody's."""
    names = {environment.name for environment in definition.environments}
    for stage in stages:
        if stage.environment and stage.environment not in names:
            known = ", ".join(sorted(names)) or "none"
            return f"Stage {stage.name} is for the environment {stage.environment!r}; the file has {known}."
    return ""


def _behind(first: StageDef, stages: tuple[StageDef, ...]) -> tuple[StageDef, ...]:
    """`first`, and every stage without needs made to need it. Exit stages keep their place."""
    return (
        first,
        *(
            replace(stage, needs=(first.name,), depends=first.name) if not stage.needs and not stage.on_exit else stage
            for stage in stages
        ),
    )


def _go(run: Run, push: Push, stages: tuple[StageDef, ...]) -> None:
    Stage.objects.bulk_create(_stage(run, position, definition) for position, definition in enumerate(_ordered(stages)))
    audit.write(
        actor=run.requested_by.username if run.requested_by else push.author,
        action="start",
        target=f"run:{run.pipeline.slug}/{run.number}",
        commit=run.commit,
        trigger=run.trigger,
    )
    locked = lock(run.pk)
    changes = Changes(locked)
    changes.say(events.RunChanged(state=RunState.RUNNING))
    advance_locked(locked, changes)
    run.refresh_from_db()


def _ordered(stages: tuple[StageDef, ...]) -> list[StageDef]:
    """The stages with every need before the stage that needs it, exit stages last, else as in the file."""
    by_group: dict[str, list[StageDef]] = {}
    for stage in stages:
        by_group.setdefault(stage.group or stage.name, []).append(stage)
    ordered: list[StageDef] = []
    placed: set[str] = set()
    for stage in sorted(stages, key=lambda stage: stage.on_exit):
        stack = [stage]
        while stack:
            top = stack[-1]
            missing = [s for need in top.needs for s in by_group.get(need, ()) if s.name not in placed]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if top.name not in placed:
                placed.add(top.name)
                ordered.append(top)
    return ordered


def _resolved(run: Run, definition: Definition) -> tuple[StageDef, ...]:
    """The file's stages with this run's values in place of their placeholders."""
    facts = {
        "commit": run.commit,
        "ref": run.ref,
        "branch": run.branch,
        "number": str(run.number),
    }
    return tuple(resolve_stage(stage, run.parameters, facts) for stage in definition.stages)


def _stage(run: Run, position: int, definition: StageDef) -> Stage:
    data: dict[str, Any] = asdict(definition)
    data["retry"]["on"] = sorted(data["retry"]["on"])
    return new_stage(run, position, data)
