"""What is in a namespace, followed by watching it: pods, and which of them a Service leads to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError
from pipelines.executors.rollout.kubernetes.shape import TEMPLATE, Object
from pipelines.executors.rollout.strategy import Count

# Seconds after which a thread looks whether it is still wanted.
TICK = 0.5
LIST_WITHIN = 30.0


class Cache:
    """All objects of one kind and label, as they are now. `changed` is called after each change, in a thread."""

    def __init__(self, client: Client, kind: str, labels: str, changed: Callable[[], None]) -> None:
        self._client, self._kind, self._labels, self._changed = client, kind, labels, changed
        self._objects: dict[str, Object] = {}
        self._guard = threading.Lock()
        self._synced, self._closed = threading.Event(), threading.Event()
        self._broken: ClusterError | None = None
        self._thread = threading.Thread(target=self._follow, name=f"follow-{kind}", daemon=True)
        self._thread.start()

    def objects(self) -> list[Object]:
        """Raises ClusterAway once contact is lost, and whatever the cluster refuses."""
        if not self._synced.wait(LIST_WITHIN):
            raise ClusterAway(f"{self._client.place}: no list of {self._kind}s came within {LIST_WITHIN:g} s.")
        if self._broken is not None:
            raise self._broken
        with self._guard:
            return list(self._objects.values())

    def close(self) -> None:
        self._closed.set()

    def _follow(self) -> None:
        try:
            for event in self._client.watch(self._kind, labels=self._labels, tick=TICK):
                if self._closed.is_set():
                    return
                if event is not None:
                    self._take(event.type, event.object)
        except ClusterError as error:
            self._broken = error
            self._synced.set()
            self._changed()

    def _take(self, kind: str, item: Mapping[str, Any]) -> None:
        if kind == "SYNCED":
            self._synced.set()
        else:
            with self._guard:
                name = item["metadata"]["name"]
                if kind == "DELETED":
                    self._objects.pop(name, None)
                else:
                    self._objects[name] = dict(item)
        if self._synced.is_set():
            self._changed()


def mark_of(item: Mapping[str, Any]) -> str:
    return str((item["metadata"].get("labels") or {}).get(TEMPLATE, ""))


def mark_of_template(item: Mapping[str, Any]) -> str:
    """Of the pods that a workload makes."""
    return str((item["spec"]["template"]["metadata"].get("labels") or {}).get(TEMPLATE, ""))


def is_going(pod: Mapping[str, Any]) -> bool:
    """Whether a pod ends, or has ended."""
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["metadata"].get("deletionTimestamp")) or phase in ("Failed", "Succeeded")


def is_of(pod: Mapping[str, Any], kind: str, name: str) -> bool:
    """Whether a pod is of this StatefulSet or DaemonSet, and not going."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return not is_going(pod) and any((owner.get("kind"), owner.get("name")) == (kind, name) for owner in owners)


def is_ready(pod: Mapping[str, Any], settles: float = 0.0, now: datetime | None = None) -> bool:
    """Ready for at least `settles` seconds, and not going."""
    if is_going(pod):
        return False
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            if condition.get("status") != "True":
                return False
            since = condition.get("lastTransitionTime")
            return not settles or not since or _age(since, now) >= settles
    return False


def count(pods: Sequence[Mapping[str, Any]], settles: float = 0.0) -> Count:
    staying = [pod for pod in pods if not is_going(pod)]
    return Count(len(staying), sum(is_ready(pod, settles) for pod in staying))


def endpoints(slices: Sequence[Mapping[str, Any]], mark: str) -> int:
    """How many ready pods the Service of a release with this mark leads to."""
    found = {
        (endpoint.get("targetRef") or {}).get("name") or str(endpoint.get("addresses"))
        for item in slices
        if mark_of(item) == mark
        for endpoint in item.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    return len(found)


def by_mark(pods: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(mark_of(pod), []).append(pod)
    return found


def containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The statuses of a pod's containers, those that run first before the others."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _age(stamp: str, now: datetime | None) -> float:
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(stamp.replace("Z", "+00:00"))).total_seconds()
