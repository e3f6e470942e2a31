"""From rows to the StageSpec that an executor is handed."""

from __future__ import annotations

from pipelines.executors.base import Artifact, StageSpec
from pipelines.models import Environment, Release, Stage
from pipelines.snapshots import ancestors, graph_of
from pipelines.states import State

from .claim import Claimed


def spec_of(claimed: Claimed) -> StageSpec:
    stage, run = claimed.stage, claimed.run
    definition = stage.definition
    hint = {"_retry": stage.retry_hint} if stage.retry_hint else {}
    return StageSpec(
        run=run.number,
        pipeline=run.pipeline.slug,
        stage=stage.name,
        kind=stage.kind,
        owner=stage.owner,
        commit=run.commit,
        ref=run.ref,
        repository=run.pipeline.repository,
        environment=stage.environment or None,
        environment_owner=_environment_owner(stage),
        parameters=run.parameters,
        with_={**definition["with_"], **hint},
        artifacts=_artifacts(claimed),
        timeout=definition.get("timeout"),
        resumes=stage.resumes,
        approved_digest=stage.plan_digest if stage.gated and claimed.phase == "work" else None,
        released=_released(stage) if stage.kind == "build" else None,
    )


def _environment_owner(stage: Stage) -> str | None:
    if not stage.environment:
        return None
    found = Environment.objects.filter(pipeline=stage.run.pipeline_id, name=stage.environment)
    return found.values_list("owner", flat=True).first()


def _released(stage: Stage) -> Artifact | None:
    """What the stage of this name made for the pipeline's last release that has one."""
    releases = Release.objects.filter(environment__pipeline=stage.run.pipeline_id, run__isnull=False)
    last = releases.order_by("-id").values_list("run", flat=True).first()
    made = Stage.objects.filter(run=last, name=stage.name).values_list("artifacts", flat=True).first() if last else None
    return next((Artifact(**artifact) for artifact in made or () if artifact["name"] == stage.name), None)


def _artifacts(claimed: Claimed) -> dict[str, Artifact]:
    """What the stages before it made, those that it needs through others too."""
    stage = claimed.stage
    if claimed.made is not None and not claimed.made:
        return {}
    before = ancestors(graph_of(claimed.run)[0], stage.position)
    made = claimed.made
    if made is None and before:
        rows = Stage.objects.filter(run=stage.run_id, position__lt=stage.position, state=State.SUCCEEDED)
        made = list(rows.exclude(artifacts=[]).order_by("position").values_list("position", "artifacts"))
    return {a["name"]: Artifact(**a) for position, artifacts in made or () if position in before for a in artifacts}
