"""A Workflow that exists is submitted by the portal, with the gates of its ownership file, and becomes a run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.db import transaction

from pipelines.definition.model import Definition, Gate, GateTeam, StageDef
from pipelines.executors.argo.accounts import UNKNOWN, accounts_in, parameters_of
from pipelines.executors.argo.shown import as_yaml
from pipelines.executors.connections import ConnectionsError, load
from pipelines.executors.workflow_places import DEFAULT_ACCOUNT, WorkflowPlace
from pipelines.models import DefinitionVersion, Pipeline, Run
from pipelines.runs import mirrored
from pipelines.runs.actions import judge
from pipelines.runs.push import Push
from teams.models import Team, User
from teams.policy import Action, Subject

from . import cluster
from .adopt import Adopted, AdoptError, adopt, digest_of
from .follower import ADOPTED
from .foreign import rules_of
from .reading import Source
from .resolve import Elsewhere

_BY_AGENT = ("http", "plugin")  # one pod does these for all of a Workflow's tasks
LONGEST = 50  # characters of a Workflow's name before what makes it unique
_KEPT = ("name", "kind", "owner", "depends", "needs", "on_exit")


@dataclass(frozen=True, slots=True)
class Order:
    """What is submitted: files, an ownership file, a place of connections.yaml, and which workflow of the files."""

    sources: Sequence[Source]
    owners: Source
    place: str
    document: str = ""


def places() -> list[str]:
    """The names of all places; none where connections.yaml cannot be read."""
    try:
        return sorted(load(Path(settings.HOME)).workflows)
    except ConnectionsError:
        return []


def prepare(order: Order) -> tuple[Adopted, WorkflowPlace]:
    """What would be submitted. Raises AdoptError."""
    place = _place(order.place)
    teams = set(Team.objects.values_list("slug", flat=True))
    found = adopt(
        order.sources, order.owners, teams=teams, elsewhere=_elsewhere(place), document=order.document,
        over=rules_of(place.owners),
    )  # fmt: skip
    _check_accounts(found, place)
    return found, place


def may_submit(pipeline: Pipeline, user: User) -> None:
    """Those who may start a run of the pipeline: its owner, and the teams that agreed to take part. Not the teams that
    the ownership file names, for that is what is submitted. Raises NotAllowed."""
    subject = Subject(pipeline_owner=pipeline.owner, teams=frozenset(pipeline.agreed))
    judge(user, Action.START, subject, f"pipeline:{pipeline.slug}")


def submit(*, pipeline: Pipeline, user: User, order: Order) -> Run:
    """Begin a run of it. Raises AdoptError, NotAllowed."""
    may_submit(pipeline, user)
    found, place = prepare(order)
    name = _name(found)
    manifest = _submitted(found, place, pipeline, name)
    text = _remembered(found)
    with transaction.atomic():
        Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        definition = Definition(found.title, digest_of(text), found.stages)
        version = mirrored.remember(pipeline, user, text, definition, _before(pipeline, found.title))
        return mirrored.begin(
            pipeline=pipeline,
            push=Push(
                ref="", commit="", subject=found.title, author=user.username, trigger="workflow", requested_by=user,
                parameters=_parameters(manifest),
            ),
            stages=found.stages,
            where=mirrored.Where(place.name, place.cluster.name, place.namespace, name),
            manifest=manifest,
            diff=found.woven.diff,
            definition=version,
        )  # fmt: skip


def _place(name: str) -> WorkflowPlace:
    try:
        known = load(Path(settings.HOME)).workflows
    except ConnectionsError as error:
        raise AdoptError(str(error)) from error
    if name not in known:
        raise AdoptError(f"connections.yaml names no workflow place {name!r}; it has {', '.join(known) or 'none'}.")
    return known[name]


def _elsewhere(place: WorkflowPlace) -> Elsewhere:
    return cluster.templates_of(Path(settings.HOME), place.cluster.name, place.namespace)


def _check_accounts(found: Adopted, place: WorkflowPlace) -> None:
    """Each task runs with accounts of the team that owns it alone. Raises AdoptError."""
    spec = found.woven.after["spec"]
    known, defaults = parameters_of(spec), spec.get("templateDefaults") or {}
    beside = [
        *accounts_in(spec, known, without=("templates", "templateDefaults", "serviceAccountName")),
        *accounts_in(defaults, known, without=("serviceAccountName",)),
    ]
    at = {task.path: task for task in found.graph.tasks}
    for stage in found.stages:
        if stage.owner not in place.teams:
            raise AdoptError(
                f"{stage.owner} owns {stage.name}, and may run nothing at {place.name}: connections.yaml allows "
                f"{', '.join(place.teams) or 'no team'} there."
            )
        if stage.kind == "gate":
            continue
        node = found.graph.templates.get(at[stage.with_["node"]].position)
        if node is None:
            raise AdoptError(
                f"{stage.name} runs the template {stage.with_['template']}, which is filled in while it runs, so "
                "nobody can say with whose service account that works. Name the template."
            )
        template = node.plain()
        account = str(spec.get("serviceAccountName") or DEFAULT_ACCOUNT)
        if stage.with_["does"] not in _BY_AGENT:
            account = str(template.get("serviceAccountName") or defaults.get("serviceAccountName") or account)
        for key, one in [("serviceAccountName", account), *accounts_in(template, known), *beside]:
            _check_account(stage, key, one, place)


def _check_account(stage: StageDef, key: str, account: str, place: WorkflowPlace) -> None:
    allowed = place.teams[stage.owner]
    if account == UNKNOWN:
        raise AdoptError(
            f"What {key} makes of the pods of {stage.name} is known only while it runs, and it could be another "
            "service account. Write it without {{...}} that the Workflow's own parameters do not give, as a mapping."
        )
    if account not in allowed:
        raise AdoptError(
            f"{stage.name} would run with the service account {account} ({key}), and {stage.owner}, who owns it, has "
            f"{', '.join(allowed)} at {place.name}. Name one of these in serviceAccountName."
        )


def _name(found: Adopted) -> str:
    base = found.graph.name.removesuffix("-")[:LONGEST].rstrip("-.") or "workflow"
    return f"{base}-{secrets.token_hex(3)}"


def _submitted(found: Adopted, place: WorkflowPlace, pipeline: Pipeline, name: str) -> dict[str, Any]:
    after = found.woven.after
    metadata = {key: value for key, value in after["metadata"].items() if key in ("labels", "annotations")}
    labels = {**(metadata.get("labels") or {}), ADOPTED: pipeline.slug}
    return {**after, "metadata": {**metadata, "name": name, "namespace": place.namespace, "labels": labels}}


def _parameters(manifest: Mapping[str, Any]) -> dict[str, str]:
    given = (manifest["spec"].get("arguments") or {}).get("parameters") or ()
    return {str(one["name"]): str(one["value"]) for one in given if "name" in one and "value" in one}


# --- who owned what before ---------------------------------------------------------------------------------------


def _remembered(found: Adopted) -> str:
    stages = []
    for stage in found.stages:
        plain = asdict(stage)
        stages.append({key: plain[key] for key in _KEPT} | {"gate": plain["gate"]})
    kept = _plain({"name": found.title, "stages": stages, "workflow": found.woven.after})
    return as_yaml(kept)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _before(pipeline: Pipeline, title: str) -> Definition | None:
    """What counted until now for the workflow of this name."""
    versions = DefinitionVersion.objects.filter(pipeline=pipeline, accepted_at__isnull=False).order_by("-accepted_at")
    for version in versions.iterator():
        kept = yaml.safe_load(version.text)
        if isinstance(kept, dict) and "workflow" in kept and kept.get("name") == title:
            return Definition(title, version.digest, tuple(_stage(one) for one in kept["stages"]))
    return None


def _stage(kept: Mapping[str, Any]) -> StageDef:
    gate = kept.get("gate")
    found = {key: kept[key] for key in _KEPT} | {"needs": tuple(kept["needs"]), "group": kept["name"]}
    if gate:
        teams = tuple(GateTeam(**one) for one in gate["teams"])
        found["gate"] = Gate(teams, **{key: value for key, value in gate.items() if key != "teams"})
    return StageDef(**found)
