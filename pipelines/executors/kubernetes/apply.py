"""Making it so: server-side apply under our own field manager, and deleting what a release does not hold any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Refused
from pipelines.executors.kubernetes.names import Ref, labels, ours, selector
from pipelines.executors.kubernetes.render import is_without_values
from pipelines.executors.kubernetes.settle import PARALLEL, present, refuse_foreign, settled
from pipelines.executors.kubernetes.versioned import CONFIGURATION, configuration

# Data is never deleted by a release.
NEVER_PRUNED = frozenset({"PersistentVolumeClaim"})
# What refers to configuration: running pods, and what Kubernetes keeps of former templates.
_REFER = ("Pod", "ReplicaSet", "ControllerRevision", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Applied:
    """`before` and `after` are resourceVersions, `before` "" where the object is new."""

    ref: Ref
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


def apply(client: Client, objects: Iterable[Mapping[str, Any]], *, force: bool = False) -> list[Applied]:
    """Apply the objects, phase after phase; safe to repeat.

    Raises Foreign, and has applied nothing, where an object of that name is not of this pipeline and environment.
    Raises Conflict where other people changed what we own, unless `force`: the plan says so first
    (`ObjectChange.overrides`). Other objects may have been applied by then.
    """
    objects = list(objects)
    lives = present(client, objects)
    for item, live in zip(objects, lives, strict=True):
        refuse_foreign(client, item, live)
    pairs = zip(settled(client, objects, lives), lives, strict=True)
    applied: list[Applied] = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        for _, together in groupby(pairs, key=lambda pair: kinds.phase(pair[0])):
            applied += pool.map(lambda pair: _apply(client, pair[0], pair[1], force), list(together))
    return applied


def _apply(client: Client, item: dict[str, Any], live: dict[str, Any] | None, force: bool) -> Applied:
    before = _version(live)
    # The values of a kept release's Secret are in the cluster alone: applying it would empty it.
    after = before if is_without_values(item) else _version(client.apply(item, force=force))
    return Applied(Ref.of(item), before, after)


def prunable(
    client: Client,
    objects: Iterable[Mapping[str, Any]],
    *,
    pipeline: str,
    environment: str,
    keep: Collection[Ref] = (),
) -> list[Ref]:
    """What carries our labels for this environment and is neither in `objects` nor in `keep`.

    Volumes are never in it, nor configuration that a pod, a ReplicaSet or a ControllerRevision refers to: a release
    that can be rolled back to needs it. `keep` is for what else such releases need.
    """
    kept = {(ref.kind, ref.name) for ref in keep} | {(item["kind"], item["metadata"]["name"]) for item in objects}
    wanted = [kind for kind in kinds.APPLIED if kind.name not in NEVER_PRUNED]
    labelled = selector(pipeline, environment)
    with ThreadPoolExecutor(PARALLEL) as pool:
        listed = pool.map(lambda kind: _listed(client, kind, labelled), wanted)
        for items in pool.map(client.list, _REFER):
            kept |= {(ref.kind, ref.name) for ref in configuration(items)}
    found = []
    for kind, items in zip(wanted, listed, strict=True):
        for item in items:
            # A copy of the labels on what a controller made (pods, say) does not make it ours.
            owned = item["metadata"].get("ownerReferences")
            if not owned and (kind.name, item["metadata"]["name"]) not in kept:
                found.append(Ref(kind.name, item["metadata"]["name"], kind.group, client.namespace))
    return found


def prune(client: Client, refs: Iterable[Ref], *, pipeline: str, environment: str) -> list[Ref]:
    """Delete what `prunable` named, what uses configuration before the configuration. Each is looked at once more.

    Answers what was deleted.
    """
    deleted = []
    for ref in sorted(refs, key=lambda ref: (ref.kind in CONFIGURATION, ref)):
        live = client.get(ref)
        if live is None or ref.kind in NEVER_PRUNED or not ours(live, labels(pipeline, environment)):
            continue
        if client.delete(ref, uid=live["metadata"]["uid"]):
            deleted.append(ref)
    return deleted


def _listed(client: Client, kind: kinds.Kind, labels: str) -> list[dict[str, Any]]:
    try:
        return client.list(kind.name, labels=labels)
    except Refused as refused:
        if kind.optional and refused.code in (403, 404):
            return []
        raise


def _version(item: Mapping[str, Any] | None) -> str:
    return str(item["metadata"]["resourceVersion"]) if item else ""
