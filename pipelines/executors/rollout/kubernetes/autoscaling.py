"""Autoscalers during a rollout.

While two releases stand side by side, each has a part of the traffic, and whoever counts replicas by load would count
wrongly: a set that hands its traffic over would shrink, and could not take it back at once. So an autoscaler is held.
Where the stable set stays complete, it may still add replicas, and the new set grows with it. Where the stable set
shrinks as the new one grows, only the rollout moves numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Foreign
from pipelines.executors.kubernetes.names import Ref, ours
from pipelines.executors.rollout.kubernetes.settings import Settings
from pipelines.executors.rollout.kubernetes.shape import Layout, Object
from pipelines.executors.rollout.strategy import Roll, SetWeight

KIND = "HorizontalPodAutoscaler"
# Annotation of an autoscaler that is held, for people who wonder why it does nothing.
HELD = "burger-stack/held"


def scalers(layout: Layout) -> dict[str, Object]:
    """Service to the release's autoscaler of it."""
    names = {(w.kind, w.ref.name): service for service, w in layout.workloads.items()}
    found = {_target(item): item for item in layout.scalers}
    return {names[target]: item for target, item in found.items() if target in names}


def within(scaler: Object, count: int) -> int:
    """The number of replicas nearest to `count` that the autoscaler allows."""
    spec = scaler["spec"]
    return max(int(spec.get("minReplicas", 1)), min(count, int(spec["maxReplicas"])))


def growing(layout: Layout, settings: Settings) -> set[str]:
    """The autoscaled services of the stable release `layout` whose set stays complete until it gives all away."""
    kinds = {type(step) for step in settings.steps}
    if Roll in kinds or settings.dynamic_stable:
        return set()
    whole = {name for name, workload in layout.workloads.items() if not workload.shared}
    return scalers(layout).keys() & (whole & layout.routed if SetWeight in kinds else whole)


def held(scaler: Object, *, grows: bool) -> Object:
    """The autoscaler as it is during a rollout."""
    item = copy.deepcopy(scaler)
    spec, notes = item["spec"], item["metadata"].setdefault("annotations", {})
    behavior = spec.setdefault("behavior", {})
    behavior["scaleDown"] = {**(behavior.get("scaleDown") or {}), "selectPolicy": "Disabled"}
    notes[HELD] = "only adds replicas until the rollout is over"
    if not grows:
        behavior["scaleUp"] = {**(behavior.get("scaleUp") or {}), "selectPolicy": "Disabled"}
        # It fills up to its least number whatever its behaviour is.
        spec["minReplicas"] = 1
        notes[HELD] = "changes nothing until the rollout is over"
    return item


def planned(scaler: Object, new: Layout, stable: Layout | None) -> Object:
    """For a plan: the autoscaler as a change of the one that is there, which names the present Deployment."""
    item = copy.deepcopy(scaler)
    for service, workload in new.workloads.items():
        there = stable.workloads.get(service) if stable else None
        if there is not None and _target(scaler) == (workload.kind, workload.ref.name) and there.kind == workload.kind:
            item["spec"]["scaleTargetRef"]["name"] = there.ref.name
    return item


def refuse_strangers(client: Client, new: Layout, stable: Layout | None, labels: Mapping[str, str]) -> None:
    """Raises Foreign for an autoscaler without `labels`, those of ours, of something that the rollout replaces: it
    would move numbers meanwhile, and afterwards be left without what it is for."""
    marks = [{(w.ref, w.mark) for w in one.workloads.values()} if one else set() for one in (new, stable)]
    replaced = {(ref.kind, ref.name): ref for ref, _ in marks[0] ^ marks[1]}
    for item in client.list(KIND):
        ref = replaced.get(_target(item))
        if ref is not None and not ours(item, labels):
            raise Foreign(
                f"{client.place}: {Ref.of(item)} scales {ref}, which this rollout replaces, and is not of the release. "
                "Put it into the manifests, or delete it: it would work against the rollout, and scale nothing after.",
                409,
                "Foreign",
            )


def _target(scaler: Object) -> tuple[str, str]:
    target = scaler["spec"].get("scaleTargetRef") or {}
    return str(target.get("kind", "")), str(target.get("name", ""))
