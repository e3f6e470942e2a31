"""What is looked at, and brought, before an environment is a rollout's."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.executors.kubernetes import apply as applying
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.names import labels
from pipelines.executors.kubernetes.settle import present, refuse_foreign
from pipelines.executors.rollout.kubernetes import autoscaling
from pipelines.executors.rollout.kubernetes.records import Kept
from pipelines.executors.rollout.kubernetes.shape import Layout


def refuse_strangers(client: Client, new: Layout, stable: Layout | None, pipeline: str, environment: str) -> None:
    """Raises Foreign for what is there already under a name of the release and is somebody else's, before anything is
    done: what is done could not be taken back without touching it."""
    items = [*new.before, *new.jobs, *(w.object for w in new.workloads.values()), *new.services, *new.routes]
    items += [*new.scalers, *new.after]
    for item, live in zip(items, present(client, items), strict=True):
        refuse_foreign(client, item, live)
    autoscaling.refuse_strangers(client, new, stable, labels(pipeline, environment))


def bring_secrets(clients: Mapping[str, Client], new: Kept) -> None:
    """Secrets are only here: their values stand in no record, so they go to the cluster before it is written down that
    the rollout has begun."""
    for place, client in clients.items():
        if secrets := [item for item in new.objects.get(place, []) if item["kind"] == "Secret"]:
            applying.apply(client, secrets)
