"""What a rollout to clusters would change, as people approve it: the servers' own dry run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipelines.definition.credentials import concealed
from pipelines.executors.base import Change, Plan, StageSpec
from pipelines.executors.kubernetes.apply import prunable
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.diff import against, diff
from pipelines.executors.kubernetes.names import Ref, labels
from pipelines.executors.kubernetes.render import is_without_values
from pipelines.executors.rollout.kubernetes import autoscaling, shape
from pipelines.executors.rollout.kubernetes.records import Kept
from pipelines.executors.rollout.kubernetes.settings import Settings
from pipelines.executors.rollout.kubernetes.shape import Object
from pipelines.executors.rollout.plan import describe_step


def make_plan(
    spec: StageSpec,
    settings: Settings,
    new: Kept,
    stable: Kept | None,
    clients: Mapping[str, Client],
    key: ContentKey,
    gateways: Mapping[str, bool],
    kept: Collection[Kept],
) -> Plan:
    """`stable` is what is there, None in a new environment; `kept` are all releases that can be gone back to, whose
    configuration stays. Reads only. Raises ClusterError."""
    present = stable.release.name if stable else None
    same = present == new.release.name
    changes = [Change("release", present or "", new.release.name)] if not same else []
    changes += _digests(new, stable)
    for place, client in clients.items():
        needed = {Ref.of(item) for one in kept for item in one.objects.get(place, ())}
        needed = {ref for ref in needed if ref.kind in ("ConfigMap", "Secret", "Job")}
        changes += _place(spec, place, client, new, stable, key, needed, gateway=gateways[place])
    return Plan(
        summary=_summary(spec, settings, new, unchanged=same and not changes, places=len(clients)),
        commit=new.release.commit or spec.commit,
        kind=spec.kind,
        stage=spec.stage,
        environment=spec.environment,
        artifacts={service.artifact: service.digest for service in new.release.services.values()},
        parameters=concealed(spec.parameters),
        changes=changes,
        details={
            "present": present,
            "release": new.release.name,
            "strategy": settings.strategy,
            "steps": [describe_step(step) for step in settings.steps],
            "replicas": new.release.replicas,
            "places": sorted(clients),
            "weights": {place: "HTTPRoute" if gateways[place] else "replicas" for place in sorted(clients)},
            "deadline": settings.deadline,
        },
    )


def _summary(spec: StageSpec, settings: Settings, new: Kept, *, unchanged: bool, places: int) -> str:
    if unchanged:
        return f"leave {spec.environment} at {new.release.name}, which runs there already"
    where = f"{spec.environment} ({places} places)" if places > 1 else str(spec.environment)
    if settings.release:
        return f"roll back to {new.release.name} in {where}"
    count = len(new.release.services)
    return f"roll out {count} service{'s' if count != 1 else ''} to {where}"


def _digests(new: Kept, stable: Kept | None) -> list[Change]:
    before = stable.release.services if stable else {}
    found = []
    for name in sorted({*new.release.services, *before}):
        old, fresh = before.get(name), new.release.services.get(name)
        if (old.digest if old else "") != (fresh.digest if fresh else ""):
            found.append(Change(f"{name}: digest", old.digest if old else "", fresh.digest if fresh else ""))
    return found


def _place(
    spec: StageSpec,
    name: str,
    client: Client,
    new: Kept,
    stable: Kept | None,
    key: ContentKey,
    needed: Collection[Ref],
    *,
    gateway: bool,
) -> list[Change]:
    layout = shape.layout(new.release.name, new.objects.get(name, []), gateway=gateway)
    there = shape.layout(stable.release.name, stable.objects.get(name, []), gateway=gateway) if stable else None
    old = there.workloads if there else {}
    objects: list[Object] = [item for item in (*layout.before, *layout.jobs) if not is_without_values(item)]
    objects += [shape.as_if(workload, old.get(name)) for name, workload in layout.workloads.items()]
    objects += [*(shape.at_rest(item) for item in (*layout.services, *layout.routes)), *layout.after]
    objects += [autoscaling.planned(item, layout, there) for item in layout.scalers]
    autoscaling.refuse_strangers(client, layout, there, labels(spec.pipeline, str(spec.environment)))
    goes = prunable(client, objects, pipeline=spec.pipeline, environment=str(spec.environment), keep=needed)
    found = diff(client, objects, key=key, prune=goes)
    before = stable.objects.get(name, []) if stable else []
    return [change.as_change() for change in against(found, objects, before, key)]
