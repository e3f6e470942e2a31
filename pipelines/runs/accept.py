"""When a pipeline file counts: at once, unless it takes something from a team that has not agreed yet."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from django.utils import timezone

from ..definition.model import Definition, Gate, GateTeam, StageDef
from ..definition.ownership import OWNERSHIP_STAGE, GuardedChange, first_changes, guarded_changes
from ..definition.parse import parse
from ..models import DefinitionVersion, Environment, Pipeline, Run, Stage
from ..states import Reason, State


def remember(pipeline: Pipeline, definition: Definition, text: str, commit: str) -> DefinitionVersion:
    """The stored version of a file, made on first sight."""
    version, _ = DefinitionVersion.objects.get_or_create(
        pipeline=pipeline, digest=definition.digest, defaults={"text": text, "commit": commit}
    )
    return version


def held_changes(
    pipeline: Pipeline, accepted: Definition | None, new: Definition, *, on_default_branch: bool
) -> tuple[GuardedChange, ...]:
    """The changes that need a present owner's approval before the run may go on.

    Of the very first file, each team that has not agreed to take part in the pipeline is asked about the stages and
    environments that it is given: a stage works with its owner's secrets. From another branch than the default one, the
    owner of the pipeline is asked too.
    """
    # An environment stays whose it is, with all that runs in it, though no file has it for a while.
    environments = dict(Environment.objects.filter(pipeline=pipeline).values_list("name", "owner"))
    if accepted is not None:
        return guarded_changes(accepted, new, environments, keeper=pipeline.owner)
    given = {stage.owner for stage in new.stages} | {environment.owner for environment in new.environments}
    given |= {environments[environment.name] for environment in new.environments if environment.name in environments}
    asked = given - {pipeline.owner, *pipeline.agreed}
    if not on_default_branch:
        asked.add(pipeline.owner)
    return first_changes(new, asked)


def ownership_stage(changes: tuple[GuardedChange, ...], owner: str) -> StageDef:
    """The stage that stands before all others while a change of ownership waits for those who are asked."""
    teams = tuple(GateTeam(team) for team in sorted({change.team for change in changes}))
    return StageDef(
        name=OWNERSHIP_STAGE,
        kind="gate",
        owner=owner,
        group=OWNERSHIP_STAGE,
        title="Change of ownership",
        gate=Gate(teams=teams),
        with_={"changes": [asdict(change) for change in changes]},
    )


def foreign_environment(pipeline: Pipeline, definition: Definition) -> str:
    """Why this file cannot have the environments that it names, "" if it can: a name stands for one place to deploy to,
    so it belongs to one pipeline."""
    names = [environment.name for environment in definition.environments]
    taken = Environment.objects.filter(name__in=names).exclude(pipeline=pipeline).select_related("pipeline").first()
    if taken is None:
        return ""
    return (
        f"The environment {taken.name} belongs to the pipeline {taken.pipeline.slug} and its team {taken.owner}. "
        "Give yours another name."
    )


def accept(run: Run, definition: Definition) -> None:
    """Let a version count from now on: its new environments for this run, all that it says if it is of the default
    branch."""
    for environment in definition.environments:
        Environment.objects.get_or_create(
            pipeline=run.pipeline,
            name=environment.name,
            defaults={"owner": environment.owner, "concurrency": environment.concurrency},
        )
    version = run.definition
    if version is None or run.ref != f"refs/heads/{run.pipeline.default_branch}":
        return
    # Who runs an old commit wants its work, not its triggers and owners back.
    if run.trigger in ("rerun", "manual") and version.accepted_at and run.pipeline.accepted_id:
        return
    DefinitionVersion.objects.filter(pk=version.pk, accepted_at=None).update(accepted_at=timezone.now())
    Pipeline.objects.filter(pk=run.pipeline_id).update(accepted=version)
    sync_environments(run.pipeline, definition)


def sync_environments(pipeline: Pipeline, definition: Definition) -> None:
    for environment in definition.environments:
        Environment.objects.update_or_create(
            pipeline=pipeline,
            name=environment.name,
            defaults={
                "owner": environment.owner,
                "concurrency": environment.concurrency,
                "freeze": [_freeze(asdict(freeze)) for freeze in environment.freeze],
            },
        )
    # Whoever waits for a window looks again: it may have moved.
    waiting = Stage.objects.filter(run__pipeline=pipeline, state=State.WAITING, reason_code=Reason.WINDOW)
    waiting.update(due_at=timezone.now())


def _freeze(freeze: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if key in ("start", "end") else value for key, value in freeze.items()}


# Of what another file says of a stage: whom the work, and the question before it, is taken from.
_RIGHTS = ("owner", "gate")


def outdated(stage: Stage) -> str:
    """Why those whom this stage asks may not decide about it any more, as a sentence; "" while they may. A run keeps
    the file that it began with, but what another file has given to other teams since is theirs."""
    run = stage.run
    if not hasattr(run, "_taken"):
        look_at([run])
    name, place = stage.definition.get("group") or stage.name, f"environment {stage.environment}"
    changes: list[GuardedChange] = run._taken  # type: ignore[attr-defined]
    found = next((one for one in changes if one.field in _RIGHTS and one.stage in (name, place)), None)
    if found is None:
        return ""
    return (
        f"Another pipeline file counts since this run began: the {found.field} of {found.stage} is {found.before}, and "
        f"was {found.after}. Start the commit again, so that those are asked who own it now."
    )


def look_at(runs: Collection[Run]) -> None:
    """Find out for many runs at once what `outdated` has to know: what their files would take from teams that own it
    now, and that did not agree to it in the very run."""
    old = []
    for run in runs:
        run._taken = []  # type: ignore[attr-defined]
        if run.definition_id is not None and run.pipeline.accepted_id not in (None, run.definition_id):
            old.append(run)
    if not old:
        return
    pipelines = {run.pipeline_id for run in old}
    environments: dict[int, list[tuple[str, str]]] = {pipeline: [] for pipeline in pipelines}
    rows = Environment.objects.filter(pipeline__in=pipelines).order_by("name")
    for pipeline, name, owner in rows.values_list("pipeline", "name", "owner"):
        environments[pipeline].append((name, owner))
    versions = {key for run in old for key in (run.definition_id, run.pipeline.accepted_id) if key}
    digests = dict(DefinitionVersion.objects.filter(pk__in=versions).values_list("pk", "digest"))
    asked = Stage.objects.filter(run__in=old, name=OWNERSHIP_STAGE, state=State.SUCCEEDED)
    agreed = {run: definition["with_"]["changes"] for run, definition in asked.values_list("run", "definition")}
    for run in old:
        count, own = digests[run.pipeline.accepted_id or 0], digests[run.definition_id or 0]
        found = _taken(count, own, tuple(environments[run.pipeline_id]), run.pipeline.owner)
        said = agreed.get(run.pk, [])
        run._taken = [one for one in found if json.loads(json.dumps(asdict(one))) not in said]  # type: ignore[attr-defined]


@lru_cache(maxsize=128)
def _taken(
    accepted: str, version: str, environments: tuple[tuple[str, str], ...], keeper: str
) -> tuple[GuardedChange, ...]:
    """Of two versions by their digests, whose texts never change."""
    texts = dict(DefinitionVersion.objects.filter(digest__in=(accepted, version)).values_list("digest", "text"))
    old, new = parse(texts[accepted]).definition, parse(texts[version]).definition
    return guarded_changes(old, new, dict(environments), keeper=keeper) if old and new else ()


def overtaken(stage: Stage) -> str:
    """Why an approved change of ownership must not count any more, "" if it may.

    Another one may have been accepted since its teams were asked; then it could take from a team what it never gave.
    """
    definition = _asked_for(stage)
    if definition is None:
        return ""
    run = stage.run
    pipeline = Pipeline.objects.select_for_update(of=("self",)).select_related("accepted").get(pk=run.pipeline_id)
    if foreign := foreign_environment(pipeline, definition):
        return foreign
    default = run.ref == f"refs/heads/{pipeline.default_branch}"
    present = parse(pipeline.accepted.text).definition if pipeline.accepted else None
    now = held_changes(pipeline, present, definition, on_default_branch=default)
    asked = stage.definition["with_"]["changes"]
    if all(json.loads(json.dumps(asdict(change))) in asked for change in now):
        return ""
    return (
        "another change of ownership was accepted since this one was asked about, and the two do not fit together; "
        "start this commit again to ask about what it would change now"
    )


def ownership_change(stage: Stage) -> None:
    """Called when a stage succeeded: if it was the ownership change, what it asked for counts from now on."""
    definition = _asked_for(stage)
    if definition is not None:
        accept(stage.run, definition)


def _asked_for(stage: Stage) -> Definition | None:
    """The definition that this stage asks about; None for every other stage."""
    if stage.name != OWNERSHIP_STAGE or stage.run.definition is None:
        return None
    return parse(stage.run.definition.text).definition
