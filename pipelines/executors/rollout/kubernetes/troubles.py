"""What keeps the pods of a release in one namespace from being ready, as far as the cluster says anything of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Refused
from pipelines.executors.rollout.kubernetes import reasons
from pipelines.executors.rollout.kubernetes.seen import is_of, mark_of
from pipelines.executors.rollout.kubernetes.shape import Layout, Object, Workload


def of_release(client: Client, layout: Layout, pods: Sequence[Object], deployments: Sequence[Object]) -> list[str]:
    """`pods` and `deployments` are all of ours that are there."""
    marks = {workload.mark for workload in layout.workloads.values()}
    line = partial(_last_line, client)
    said = [text for pod in pods if mark_of(pod) in marks and (text := reasons.why(pod, line))]
    said += reasons.refusals(item for item in deployments if mark_of(item) in marks)
    for workload in layout.workloads.values():
        if workload.shared and _lacks_pods(client, workload, pods):
            events = client.list("Event", fields=f"involvedObject.name={workload.name}")
            said += reasons.events_of(workload.name, events)
    return [f"{client.place}: {text}" for text in said]


def _lacks_pods(client: Client, workload: Workload, pods: Sequence[Object]) -> bool:
    live = client.get(workload.ref) or {}
    status = live.get("status") or {}
    wanted = status.get("desiredNumberScheduled") or (live.get("spec") or {}).get("replicas") or 0
    return sum(is_of(pod, workload.kind, workload.name) for pod in pods) < int(wanted)


def _last_line(client: Client, pod: str, container: str, previous: bool) -> str:
    try:
        lines = client.log(pod, container, lines=5, previous=previous).strip().splitlines()
    except Refused:
        return ""
    return lines[-1][:300] if lines else ""
