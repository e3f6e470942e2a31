"""From a commit's manifests and a published release to what each place of an environment is to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.executors.base import PlanError, StageSpec, Workplace
from pipelines.executors.connections import Environment
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.manifests import Manifest, load
from pipelines.executors.kubernetes.render import Setting, without_values
from pipelines.executors.kubernetes.render import render as render_objects
from pipelines.executors.rollout.kubernetes import shape
from pipelines.executors.rollout.kubernetes.records import Kept
from pipelines.executors.rollout.kubernetes.settings import Settings, published, workspace
from pipelines.executors.rollout.kubernetes.shape import WORKLOADS, Object
from pipelines.executors.rollout.release import Release, Service
from pipelines.executors.secrets import SecretError, resolve
from pipelines.executors.store import Store
from pipelines.performance import tokens

# What no team keeps: the installation itself says by what it believes an environment's reports.
MEASURE_TOKEN = "burger:measure-token"  # noqa: S105 a reference


def render(
    workplace: Workplace, spec: StageSpec, settings: Settings, there: Environment, key: ContentKey, name: str
) -> Kept:
    """The release `name`, with its objects by place, Secrets with their values. Raises PlanError, ManifestError."""
    manifests = _manifests(workplace, spec, settings, there.name)
    images = {str(name): str(image) for name, image in published(spec).meta["images"].items()}
    objects: dict[str, list[Object]] = {}
    for spot in there.spots:
        setting = Setting(
            pipeline=spec.pipeline,
            environment=there.name,
            namespace=spot.namespace,
            release=name,
            images=images,
            parameters=dict(spec.parameters),
            commit=spec.commit,
            host=urlsplit(there.url).hostname or "",
            collector=there.collector,
        )
        objects[spot.name] = render_objects(
            manifests, setting, key=key, secrets=lambda ref: _secret(workplace.home, spec, settings, there.name, ref)
        )
        _set_replicas(objects[spot.name], settings)
    first = objects[there.spots[0].name]
    services = {item["metadata"]["name"]: _service(item, images) for item in first if item["kind"] in WORKLOADS}
    if not services:
        raise PlanError(f"The manifests in {settings.manifests} hold no Deployment, StatefulSet or DaemonSet.")
    # Values of secrets are in the names of their objects already, as keyed digests.
    plain = [item for place in sorted(objects) for item in without_values(objects[place])]
    content = shape.content(plain, name)
    return Kept(Release(name, services, spec.commit, spec.run, spec.pipeline, manifests=content), objects)


def _secret(home: Path, spec: StageSpec, settings: Settings, environment: str, reference: str) -> str:
    """The value of a reference that the stage lists. The token is the environment's, the same for each release: a pod
    says itself which one it is, and the same content stays the same. Raises SecretError."""
    if reference == MEASURE_TOKEN:
        return tokens.mint(tokens.key(home), environment)
    if reference not in settings.secrets:
        known = ", ".join(sorted(settings.secrets)) or "nothing"
        raise SecretError(
            f"Stage {spec.stage} does not give the secret {reference!r} to manifests: its with.secrets lists {known}. "
            f"List it there; team {spec.owner} then has to agree."
        )
    return resolve(home, spec.owner, reference)


def _manifests(workplace: Workplace, spec: StageSpec, settings: Settings, environment: str) -> list[Manifest]:
    tree = Store(workplace.home).unpacked(workspace(spec).digest)
    folder = tree / settings.manifests
    if not folder.is_dir() or not _is_inside(folder, tree):
        raise PlanError(
            f"with.manifests is {settings.manifests!r}, but the repository has no such folder at commit "
            f"{spec.commit[:12]}. Check the spelling, or commit it."
        )
    return load(folder, environment)


def _is_inside(folder: Path, tree: Path) -> bool:
    return folder.resolve().is_relative_to(tree.resolve())


def _set_replicas(objects: list[Object], settings: Settings) -> None:
    names = {item["metadata"]["name"] for item in objects if item["kind"] in ("Deployment", "StatefulSet")}
    if unknown := sorted(set(settings.replicas) - names):
        known = ", ".join(sorted(names)) or "none"
        raise PlanError(f"with.replicas names {unknown[0]!r}; the manifests' Deployments and StatefulSets are {known}.")
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet") and item["metadata"]["name"] in settings.replicas:
            item["spec"]["replicas"] = settings.replicas[item["metadata"]["name"]]


def _service(item: Object, images: dict[str, str]) -> Service:
    """What people are told of a workload: the component that it runs, and its digest."""
    pods: dict[str, Any] = item["spec"]["template"]["spec"]
    image = str(pods["containers"][0]["image"])
    component = next((name for name, found in images.items() if found == image), image.partition("@")[0])
    replicas = 1 if item["kind"] == "DaemonSet" else int(item["spec"].get("replicas", 1))
    return Service(component, image.partition("@")[2] or image, (), replicas=replicas, health="")
