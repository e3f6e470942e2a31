"""What has to be known of the cluster before objects can be compared or applied."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines.executors.kubernetes import ownership
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Foreign, Refused
from pipelines.executors.kubernetes.names import ENVIRONMENT, MANAGED_BY, PART_OF, Ref
from pipelines.executors.kubernetes.render import is_without_values

_AUTOSCALER = "HorizontalPodAutoscaler"
# Requests in flight at once; the server sees many such clients.
PARALLEL = 4


def present(client: Client, objects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
    """What the cluster has in the place of each object."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda item: client.get(Ref.of(item)), objects))


def settled(
    client: Client, objects: Iterable[Mapping[str, Any]], lives: Iterable[Mapping[str, Any] | None]
) -> list[dict[str, Any]]:
    """The objects with the replicas of autoscaled workloads left to their autoscaler.

    What the autoscaler has set once is its own, so we do not say it. Until then it is ours, and stays as it is now:
    leaving it out would give it up, and the server would fall back to one.
    """
    objects = list(objects)
    scaled = _autoscaled(client, objects)
    return [
        _left_to_autoscaler(item, live) if (item["kind"], item["metadata"]["name"]) in scaled else dict(item)
        for item, live in zip(objects, lives, strict=True)
    ]


def refuse_foreign(client: Client, item: Mapping[str, Any], live: Mapping[str, Any] | None) -> None:
    """Raises Foreign where `live` is not of the pipeline and environment that `item` is of; Refused where a Secret
    without values, of a release that was kept, is not there any more."""
    if live is None:
        if is_without_values(item):
            raise Refused(
                f"{client.place}: {Ref.of(item)} of the kept release is gone, and nothing else held its values.",
                404,
                "NotFound",
            )
        return
    wanted = item["metadata"]["labels"]
    found = (live.get("metadata") or {}).get("labels") or {}
    differing = [name for name in (MANAGED_BY, PART_OF, ENVIRONMENT) if found.get(name) != wanted.get(name)]
    if differing:
        name = differing[0]
        raise Foreign(
            f"{client.place}: {Ref.of(item)} is there already, and its label {name} is {found.get(name)!r} instead of "
            f"{wanted.get(name)!r}. It is left alone; to hand it over, label it, or delete it.",
            409,
            "Foreign",
        )


def _autoscaled(client: Client, objects: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(kind, name) of every workload that an autoscaler is for, one of ours or of somebody else."""
    scalers = [item for item in objects if item["kind"] == _AUTOSCALER] + list(client.list(_AUTOSCALER))
    targets = [item["spec"]["scaleTargetRef"] for item in scalers]
    return {(target["kind"], target["name"]) for target in targets}


def _left_to_autoscaler(source: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    item = copy.deepcopy(dict(source))
    if live is None:
        return item
    path = ownership.shown((("f", "spec"), ("f", "replicas")))
    theirs = any(not owner.is_ours and path in owner.paths for owner in ownership.owners(live))
    if theirs:
        item["spec"].pop("replicas", None)
    else:
        item["spec"]["replicas"] = live["spec"]["replicas"]
    return item
