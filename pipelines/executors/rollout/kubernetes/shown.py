"""What the portal shows of an environment on clusters: the same shape as for one of this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.executors.connections import Environment
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.drift import drift
from pipelines.executors.kubernetes.errors import ClusterError
from pipelines.executors.kubernetes.names import RELEASE, selector
from pipelines.executors.rollout.kubernetes import reasons, shape
from pipelines.executors.rollout.kubernetes.records import Kept, Records, State
from pipelines.executors.rollout.kubernetes.seen import containers, is_going, is_ready, mark_of
from pipelines.executors.rollout.kubernetes.settling import HTTP_ROUTE
from pipelines.executors.rollout.kubernetes.shape import WORKLOADS, Object
from pipelines.executors.rollout.release import Release

# A page does not wait for a cluster that is away, nor for one that takes the question and does not answer it.
PATIENCE = 2.0
# Seconds for which what a comparison with the cluster found is shown again: it takes a request for each object.
DRIFT_KEEPS = 15.0
_drift: dict[tuple[str, str, str], tuple[float, list[str]]] = {}
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class _There:
    """What one place holds."""

    name: str
    pods: list[Object]
    workloads: list[Object]
    services: list[Object]


def status(home: Path, there: Environment) -> dict[str, Any]:
    """As `local.target.status`, and "places" (names), "away" (place to why it does not answer), "held" (the release
    that a rollback brought and that holds, "" if none), "drift" (sentences about what somebody else changed).

    A replica is {"id", "place", "node", "ready", "state", "restarts", "error"}. Raises OSError where the cluster that
    keeps the environment's state does not answer, with the sentence.
    """
    clients = _clients(there)
    try:
        records = Records(clients[there.spots[0].name], there.name)
        state = records.read()
        kept = {name: one for name in _named(state) if (one := records.release(name)) is not None}
        labels = selector(state.pipeline, there.name) if state.pipeline else ""
        looked = _everywhere(clients, lambda name: _look(name, clients[name], labels)) if labels else {}
        found = _facts(there, state, kept, [one for one in looked.values() if isinstance(one, _There)])
        found["away"] = {name: one for name, one in looked.items() if isinstance(one, str)}
        answering = {name: client for name, client in clients.items() if name not in found["away"]}
        found["drift"] = _drifted(home, there, state, kept, answering)
    except ClusterError as error:
        raise OSError(str(error)) from error
    finally:
        for client in clients.values():
            client.close()
    return found


def releases(there: Environment) -> list[dict[str, Any]]:
    """As `local.target.releases`. Raises OSError."""
    spot = there.spots[0]
    client = Client(spot.cluster, spot.namespace, patience=PATIENCE, timeout=PATIENCE)
    try:
        records = Records(client, there.name)
        stable = records.read().stable
        found = [release for release, stayed in records.releases() if stayed]
    except ClusterError as error:
        raise OSError(str(error)) from error
    finally:
        client.close()
    return [
        {
            **release.as_dict(),
            "current": release.name == stable,
            "digests": {name: service.digest for name, service in release.services.items()},
        }
        for release in found
    ]


def _clients(there: Environment) -> dict[str, Client]:
    return {
        spot.name: Client(spot.cluster, spot.namespace, patience=PATIENCE, timeout=PATIENCE) for spot in there.spots
    }


def _everywhere(clients: Mapping[str, Client], ask: Callable[[str], Any]) -> dict[str, Any]:
    """What each place answers, all asked at once; why it does not, where it does not."""

    def one(name: str) -> Any:
        try:
            return ask(name)
        except ClusterError as error:
            return str(error)

    with ThreadPoolExecutor(len(clients)) as pool:
        return dict(zip(clients, pool.map(one, clients), strict=True))


def _named(state: State) -> list[str]:
    at_work = state.progress.get("release", {}).get("name", "") if state.rollout else ""
    return list(dict.fromkeys(name for name in (state.stable, at_work, *state.retire) if name))


def _look(name: str, client: Client, labels: str) -> _There:
    workloads = [item for kind in WORKLOADS for item in client.list(kind, labels=labels)]
    pods = [pod for pod in client.list("Pod", labels=labels) if mark_of(pod)]
    return _There(name, pods, workloads, client.list("Service", labels=labels))


def _facts(there: Environment, state: State, kept: Mapping[str, Kept], places: Iterable[_There]) -> dict[str, Any]:
    stable = kept[state.stable].release if state.stable in kept else None
    places = list(places)
    sets: dict[str, Any] = {}
    for place in places:
        for release, services in _sets(place, kept, alone=len(there.spots) == 1).items():
            sets.setdefault(release, {}).update(services)
    return {
        "environment": there.name,
        "release": state.stable,
        "commit": stable.commit if stable else "",
        "run": stable.run if stable else None,
        "since": stable.when if stable else None,
        "rollout": state.rollout,
        "generation": int(state.version or 0),
        "weights": _weights(state, places, sets),
        "sets": sets,
        "router": {"ok": True, "problem": "", "restarts": 0},
        "config_digest": _configuration(kept.get(state.stable)),
        "config_problem": "",
        "access": {},
        "places": [spot.name for spot in there.spots],
        "away": {},
        "held": state.held,
        "drift": [],
    }


def _sets(place: _There, kept: Mapping[str, Kept], *, alone: bool) -> dict[str, Any]:
    """Release to service to its facts. A service is called after its place where there are several."""
    found: dict[str, Any] = {}
    by_mark: dict[str, list[Object]] = {}
    for pod in place.pods:
        if not is_going(pod):
            by_mark.setdefault(mark_of(pod), []).append(pod)
    for workload in place.workloads:
        name, marks = _name(workload), [_mark(workload)]
        if workload["kind"] != "Deployment":
            # Its pods may be of two releases at once.
            marks += [mark for mark, pods in by_mark.items() if mark not in marks and _is_of(pods[0], workload)]
        for index, mark in enumerate(marks):
            pods = by_mark.get(mark, [])
            release = _release(pods[0] if pods else workload)
            wanted = _wanted(workload) if len(marks) == 1 or not pods else len(pods)
            if not pods and (index or not wanted):
                continue
            digest = _digest(kept.get(release), name) or _image(pods)
            found.setdefault(release, {})[name if alone else f"{place.name}/{name}"] = {
                "digest": digest,
                "wanted": wanted,
                "ready": sum(is_ready(pod) for pod in pods),
                "replicas": [_replica(pod, place.name) for pod in pods],
            }
    return found


def _replica(pod: Object, place: str) -> dict[str, Any]:
    ready = is_ready(pod)
    return {
        "id": pod["metadata"]["name"],
        "place": place,
        "node": pod["spec"].get("nodeName", ""),
        "ready": ready,
        "state": "serving" if ready else "starting",
        "restarts": sum(int(one.get("restartCount") or 0) for one in containers(pod)),
        "error": "" if ready else reasons.why(pod, lambda *_: ""),
    }


def _weights(state: State, places: Iterable[_There], sets: Mapping[str, Any]) -> dict[str, int]:
    texts = {
        text
        for place in places
        for item in place.services
        if (text := (item["metadata"].get("annotations") or {}).get(shape.WEIGHTS))
    }
    if state.rollout and len(texts) == 1:
        return {str(name): int(weight) for name, weight in json.loads(texts.pop()).items()}
    ready = {name: sum(one["ready"] for one in services.values()) for name, services in sets.items()}
    if not state.rollout:
        return {state.stable: 100} if ready.get(state.stable) else {}
    whole = sum(ready.values())
    return {name: round(100 * count / whole) for name, count in ready.items() if count} if whole else {}


def _drifted(
    home: Path, there: Environment, state: State, kept: Mapping[str, Kept], clients: Mapping[str, Client]
) -> list[str]:
    """What somebody else changed of what we own; while a rollout is at work, of the workloads of both releases."""
    stable = kept.get(state.stable)
    if stable is None and not state.rollout:
        return []
    # A rollout writes down how far it is all the time.
    version = f"at work: {state.rollout}" if state.rollout else state.version
    key = (str(home), there.name, f"{version} {' '.join(clients)}")
    with _guard:
        when, said = _drift.get(key, (0.0, []))
    if time.monotonic() - when < DRIFT_KEEPS and when:
        return said

    def compare(name: str) -> list[str]:
        gateway = clients[name].has(HTTP_ROUTE)
        layouts = [
            shape.layout(one.release.name, one.objects.get(name, []), gateway=gateway)
            for one in (kept.values() if state.rollout else (stable,))
            if one is not None
        ]
        wanted = _as_moved(clients[name], layouts) if state.rollout else shape.final(layouts[0])
        return [str(one) for one in drift(clients[name], wanted)]

    found = _everywhere(clients, compare) if clients else {}
    said = [text for one in found.values() if isinstance(one, list) for text in one]
    with _guard:
        _drift[key] = (time.monotonic(), said)
    return said


def _as_moved(client: Client, layouts: Iterable[shape.Layout]) -> list[Object]:
    """The workloads that a rollout holds there, each with the number and the partition that it has at this moment."""
    found = []
    for workload in (one for layout in layouts for one in layout.workloads.values()):
        live = client.get(workload.ref)
        if live is not None and _mark(live) == workload.mark:
            rolling = (live["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
            replicas, partition = int(live["spec"].get("replicas", 1)), int(rolling.get("partition") or 0)
            found.append(shape.scaled(workload, replicas, partition))
    return found


def _configuration(kept: Kept | None) -> str:
    """Names by content, so the same names are the same configuration."""
    if kept is None:
        return ""
    items = (item for objects in kept.objects.values() for item in objects)
    return " ".join(sorted({item["metadata"]["name"] for item in items if item["kind"] in ("ConfigMap", "Secret")}))


def _digest(kept: Kept | None, name: str) -> str:
    release: Release | None = kept.release if kept else None
    return release.services[name].digest if release and name in release.services else ""


def _image(pods: list[Object]) -> str:
    return str(pods[0]["spec"]["containers"][0]["image"]).partition("@")[2] if pods else ""


def _name(workload: Object) -> str:
    """The name in the manifests: a release's Deployment has its mark behind it."""
    name, mark = str(workload["metadata"]["name"]), _mark(workload)
    return name.removesuffix(f"-{mark}") if workload["kind"] == "Deployment" and mark else name


def _mark(workload: Object) -> str:
    return str((workload["spec"]["template"]["metadata"].get("labels") or {}).get(shape.TEMPLATE, ""))


def _release(item: Object) -> str:
    return str((item["metadata"].get("labels") or {}).get(RELEASE, ""))


def _is_of(pod: Object, workload: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(
        one.get("kind") == workload["kind"] and one.get("name") == workload["metadata"]["name"] for one in owners
    )


def _wanted(workload: Object) -> int:
    if workload["kind"] == "DaemonSet":
        return int((workload.get("status") or {}).get("desiredNumberScheduled") or 0)
    return int(workload["spec"].get("replicas", 1))
