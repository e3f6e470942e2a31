"""After a rollout: the release that stays as its manifests have it, and away with what is of others."""

from __future__ import annotations

import time
from collections.abc import Collection

from pipelines.executors.connections import Environment
from pipelines.executors.kubernetes import apply as applying
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.rollout.kubernetes import shape
from pipelines.executors.rollout.kubernetes.records import Kept, Records
from pipelines.executors.rollout.kubernetes.shape import Layout, Object

HTTP_ROUTE = "gateway.networking.k8s.io/v1/HTTPRoute"


def settle(
    client: Client,
    layout: Layout | None,
    kept: Collection[Kept],
    beside: Collection[str],
    *,
    pipeline: str,
    environment: str,
) -> None:
    """`layout` is what stays here, None for nothing. Of the releases in `kept` the configuration stays, and those
    whose names are in `beside` stay as they are, without traffic."""
    final: list[Object] = []
    keep: set[Ref] = set()
    if layout is not None:
        if layout.rest:
            applying.apply(client, layout.rest, force=True)
        final = [*shape.final(layout), *layout.jobs]
        if beside:
            keep |= _own_services(layout)
        else:
            for item in [*layout.routes, *layout.services]:
                client.apply(shape.at_rest(item), force=True)
    for one in kept:
        keep |= _needs(one, client.place, whole=one.release.name in beside)
    refs = applying.prunable(client, final, pipeline=pipeline, environment=environment, keep=keep)
    applying.prune(client, refs, pipeline=pipeline, environment=environment)


def retire(there: Environment) -> list[str]:
    """Take away the sets whose time beside the present release is over; returns their releases. Raises ClusterError.

    While a rollout is at work nothing is done: it does so itself at its end.
    """
    clients = {spot.name: Client(spot.cluster, spot.namespace) for spot in there.spots}
    try:
        records = Records(clients[there.spots[0].name], there.name)
        state = records.read()
        due = [release for release, at in state.retire.items() if at <= time.time()]
        if state.rollout or not due:
            return []
        left = {release: at for release, at in state.retire.items() if release not in due}
        state = records.write(state.finished, retire=left)
        stable = records.release(state.stable)
        for name, client in clients.items():
            objects = stable.objects.get(name, []) if stable else []
            layout = shape.layout(state.stable, objects, gateway=client.has(HTTP_ROUTE)) if stable else None
            kept = records.forget([state.stable, *left])
            settle(client, layout, kept, left, pipeline=state.pipeline, environment=there.name)
        return due
    finally:
        for client in clients.values():
            client.close()


def _needs(kept: Kept, place: str, *, whole: bool) -> set[Ref]:
    """What a kept release needs to be gone back to: its configuration, whose values nothing else has; or all."""
    objects = kept.objects.get(place, [])
    if not whole:
        return {Ref.of(item) for item in objects if item["kind"] in ("ConfigMap", "Secret")}
    layout = shape.layout(kept.release.name, objects, gateway=True)
    return {Ref.of(item) for item in shape.final(layout)} | _own_services(layout)


def _own_services(layout: Layout) -> set[Ref]:
    """The Services that lead to this release alone."""
    names = [(item, layout.mark(item["metadata"]["name"])) for item in layout.services]
    return {Ref.of(shape.release_service(item, mark)) for item, mark in names if mark}
