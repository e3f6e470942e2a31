"""Cleaning a registry up: what a publish stage pushed there, held against what releases still need.

It is shown first (`show`); `carry_out` does exactly what was shown, named by its digest, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from pipelines import runs
from pipelines.engines import environments
from pipelines.executors import connections
from pipelines.executors.oci import RegistryClient, RegistryError
from pipelines.executors.oci.credentials import credential_of
from pipelines.executors.oci.names import split
from pipelines.executors.oci.retention import Held, Need, RetentionPlan, decide
from pipelines.executors.secrets import SecretError
from pipelines.models import Environment, Release, Stage
from pipelines.runs.actions import judge
from pipelines.states import State
from teams import audit
from teams.models import User
from teams.policy import Action, Subject

# Of several runs, the last with the file that counts now: who runs an old commit again gives nobody anything back.
_LAST_OF_NOW = Max("pk", filter=Q(run__definition=F("run__pipeline__accepted")))
KEEP = 10  # releases of each environment
DAYS = 14


@dataclass(frozen=True, slots=True)
class Published:
    """An image that a run published at the registry."""

    name: str  # REPOSITORY@DIGEST
    pipeline: str
    stage: str
    run: int
    number: int
    run_ended: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Publisher:
    """A stage that publishes images, as the pipeline's file has it that counts."""

    pipeline: str
    stage: str
    owner: str
    registry: str
    repository: str


def publishers() -> list[Publisher]:
    """All stages that publish images to a registry, by pipeline and name."""
    last = _counting().values("run__pipeline", "name").annotate(now=_LAST_OF_NOW, last=Max("pk"))
    rows = Stage.objects.filter(pk__in=[row["now"] or row["last"] for row in last]).select_related("run__pipeline")
    return [
        Publisher(row.run.pipeline.slug, row.name, row.owner, told["registry"], str(told.get("repository") or ""))
        for row in rows.order_by("run__pipeline__slug", "name")
        if (told := _with(row)).get("registry")
    ]


def show(*, pipeline: str, stage: str, user: User, keep: int = KEEP, days: int = DAYS) -> RetentionPlan:
    """What may be deleted of what `stage` of `pipeline` published, and why the rest stays. Deletes nothing.

    `keep` is how many releases of each environment stay, besides what runs, what can be gone back to, what was
    verified last and what a run that goes on has published; and all of the last `days`. Raises runs.NotAllowed, and
    runs.Conflict where the registry or its credential cannot be used.
    """
    row = _stage(pipeline, stage)
    judge(user, Action.CLEAN_REGISTRY, Subject(owner=row.owner), _target(row))
    with _client(row) as client:
        return _plan(client, row, keep, days)


def carry_out(
    *, pipeline: str, stage: str, user: User, plan: str, reason: str, keep: int = KEEP, days: int = DAYS
) -> Iterator[Held]:
    """Delete what the plan with this digest says, yielding each image that is gone.

    Raises runs.Conflict when that is not what would be deleted now, or a stage is publishing there.
    """
    row = _stage(pipeline, stage)
    judge(user, Action.CLEAN_REGISTRY, Subject(owner=row.owner), _target(row))
    if not reason.strip():
        raise runs.Conflict("Say why you delete: those who look for an image later want to know.")
    with _client(row) as client:
        found = _plan(client, row, keep, days)
        if found.digest != plan:
            raise runs.Conflict(
                f"What would be deleted is {found.digest} now, not {plan}; nothing was deleted. Look at it again."
            )
        names = [image.name for image in found.delete]
        audit.write(
            actor=user.username, action=Action.CLEAN_REGISTRY, target=_target(row), reason=reason, plan=plan,
            images=names, frees=found.frees,
        )  # fmt: skip
        for image in found.delete:
            _refuse_if_needed(client.registry.address, row, image, keep)
            client.delete(image.repository, image.digest)
            audit.write(
                actor=user.username, action="deleted-image", target=_target(row), plan=plan, image=image.name,
                tags=list(image.tags),
            )  # fmt: skip
            yield image


def cleaned(**which: Any) -> tuple[list[str], str]:
    """`carry_out` to its end: what is gone, and why the rest was not deleted, "" if all was. Raises as it does where
    nothing is gone."""
    gone: list[str] = []
    try:
        for image in carry_out(**which):
            gone.append(image.name)
    except runs.Conflict as error:
        if not gone:
            raise
        return gone, str(error)
    return gone, ""


def _plan(client: RegistryClient, row: Stage, keep: int, days: int) -> RetentionPlan:
    address = client.registry.address
    published = list(_published(address))
    repositories = _repositories(row, published)
    latest: dict[str, datetime] = {}
    for each in published:
        latest[each.name] = max(each.at, latest.get(each.name, each.at))
    held = [image for repository in repositories for image in _held(client, repository, latest)]
    needs = [need for need in _needs(published, keep) if need.name.partition("@")[0] in repositories]
    return decide(address, held, needs, since=timezone.now() - timedelta(days=days))


def _repositories(row: Stage, published: Iterable[Published]) -> set[str]:
    mine = (row.run.pipeline.slug, row.name)
    return {each.name.partition("@")[0] for each in published if (each.pipeline, each.stage) == mine}


def _refuse_if_needed(address: str, row: Stage, image: Held, keep: int) -> None:
    """Things go on while images are deleted: ask again, right before each."""
    pushing = Stage.objects.filter(kind="publish", state__in=(State.RUNNING, State.UNKNOWN))
    for busy in pushing.select_related("run__pipeline"):
        if _with(busy).get("registry") == address:
            raise runs.Conflict(f"{busy} is publishing to {address} right now. Try again when it has ended.")
    for need in _needs(list(_published(address)), keep):
        if need.name == image.name:
            raise runs.Conflict(f"{image.name} is needed by now: {need.reason}. It and what follows was not deleted.")


def _stage(pipeline: str, stage: str) -> Stage:
    """The publish stage as the last run has it whose file counts: nobody becomes its owner by a file of a branch."""
    rows = _counting().filter(run__pipeline__slug=pipeline, name=stage)
    found = rows.aggregate(now=_LAST_OF_NOW, last=Max("pk"))
    row = Stage.objects.select_related("run__pipeline").filter(pk=found["now"] or found["last"]).first()
    if row is None or not _with(row).get("registry"):
        raise runs.Conflict(
            f"No run of {pipeline!r} has a stage {stage!r} that publishes images to a registry. Name another one."
        )
    return row


def _counting() -> QuerySet[Stage]:
    """The publish stages of runs whose files count, or have counted."""
    return Stage.objects.filter(kind="publish", run__definition__accepted_at__isnull=False)


def _with(row: Stage) -> dict[str, Any]:
    return dict(row.definition.get("with_") or {})


def _target(row: Stage) -> str:
    return f"registry:{_with(row)['registry']}"


@contextmanager
def _client(row: Stage) -> Iterator[RegistryClient]:
    """Signed in with the credential that the stage itself uses. Whatever the registry does is a runs.Conflict."""
    home, told = Path(settings.HOME), _with(row)
    try:
        registry = connections.load(home).registry(told["registry"])
        with RegistryClient(registry, credential_of(home, row.owner, told.get("secrets") or {})) as client:
            yield client
    except (SecretError, connections.ConnectionsError, RegistryError) as error:
        raise runs.Conflict(str(error)) from None


def _held(client: RegistryClient, repository: str, published: dict[str, datetime]) -> Iterator[Held]:
    """What a repository holds: all that has a tag, and what we published there and has none any more."""
    tags: dict[str, list[str]] = {}
    manifests = {}
    for tag in client.tags(repository):
        if manifest := client.manifest(repository, tag):
            manifests[manifest.digest] = manifest
            tags.setdefault(manifest.digest, []).append(tag)
    for name in published:
        where, _, digest = name.partition("@")
        if where == repository and digest not in manifests and (manifest := client.manifest(repository, digest)):
            manifests[digest] = manifest
    for digest, manifest in manifests.items():
        name = f"{repository}@{digest}"
        yield Held(repository, digest, tuple(sorted(tags.get(digest, ()))), manifest.blobs, published.get(name))


def _published(address: str) -> Iterator[Published]:
    """Every image that a run of any pipeline published at this registry."""
    rows = Stage.objects.filter(kind="publish").exclude(artifacts=[]).order_by("id")
    rows = rows.select_related("run__pipeline").only(
        "name", "ended_at", "artifacts", "run__number", "run__ended_at", "run__created_at", "run__pipeline__slug"
    )
    for row in rows.iterator(chunk_size=500):
        for reference in _images(row.artifacts):
            found = split(reference)
            if found and found[0] == address:
                run = row.run
                yield Published(
                    f"{found[1]}@{found[2]}", run.pipeline.slug, row.name, run.pk, run.number,
                    run.ended_at is not None, row.ended_at or run.created_at,
                )  # fmt: skip


def _images(artifacts: Iterable[dict[str, Any]]) -> Iterator[str]:
    for artifact in artifacts:
        yield from (artifact.get("meta") or {}).get("images", {}).values()


def _needs(published: list[Published], keep: int) -> Iterator[Need]:
    """Who needs which of them."""
    of_run: dict[int, list[str]] = {}
    for each in published:
        of_run.setdefault(each.run, []).append(each.name)
        if not each.run_ended:
            yield Need(each.name, f"run {each.pipeline} #{each.number} goes on")
    names = {each.name for each in published}
    for environment in Environment.objects.select_related("pipeline"):
        for release in _kept_releases(environment, keep):
            text = json.dumps(release.data)
            named = {name for name in names if name.partition("@")[2] in text}
            for name in sorted(named.union(of_run.get(release.run_id or 0, ()))):
                yield Need(name, f"release {release.name} of {environment}")


def _kept_releases(environment: Environment, keep: int) -> Iterator[Release]:
    """All rows of the releases that stay: the last ones, the one verified last, and those that its target keeps.
    Raises runs.Conflict where the target cannot be asked."""
    order: list[str] = []
    verified = ""
    rows = list(environment.releases.order_by("-id"))
    for row in rows:
        if row.name not in order:
            order.append(row.name)
        if row.verified_at and not verified:
            verified = row.name
    _, there = environments.standing(environment.name)
    if there is None:
        raise runs.Conflict(
            f"What {environment} keeps cannot be found out, so nothing is deleted: it may need any of these images. "
            "Try again when its cluster answers; the engines page tests it."
        )
    kept = {*order[:keep], verified} | {str(each["name"]) for each in there}
    yield from (row for row in rows if row.name in kept)
