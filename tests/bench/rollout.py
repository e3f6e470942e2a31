"""Rollouts on a real cluster: `python -m tests.bench.rollout`.

The floor of our rolling update is `kubectl apply` and `kubectl rollout status` of the same Deployment, in a namespace
of its own on the same cluster, in turns with ours; the canary's floor is our own rolling update. The abort is timed
from the word to four of four stable replicas ready and no canary left.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.facts import Facts, facts
from tests.cluster.rollout_helpers import Images, Installation, Said, made_namespaces, service, workload

from .result import Result, median, tell

ROUNDS = 5
REPLICAS = 4
STEPS = {"canary": {"steps": [{"setWeight": 25}, {"setWeight": 50}, {"setWeight": 100}]}}
HALF = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}
NAMES = (
    ("rolling update of 4 replicas", 1.1, "ratio"),
    ("canary 25/50/100 without pauses, by the rolling update", 1.1, "ratio"),
    ("abort at half to stable", 2.0, "ours"),
)


def main() -> None:
    found = facts()
    if found is None:
        tell([Result(name, None, None, goal, "s", judged=how, note="no cluster is up: make cluster")  # type: ignore[arg-type]
              for name, goal, how in NAMES])  # fmt: skip
        return
    with tempfile.TemporaryDirectory(prefix="burger-bench-") as folder:
        _measure(found, Path(folder))


def _measure(found: Facts, folder: Path) -> None:
    (folder / "home").mkdir()
    images = Images(found, folder)
    ours, floor = f"bench-ours-{time.time_ns() % 10**6}", f"bench-floor-{time.time_ns() % 10**6}"
    rolling: list[float] = []
    kubectl: list[float] = []
    canary: list[float] = []
    aborts: list[float] = []
    with made_namespaces(found, images, ours, floor):
        made = Installation(folder / "home", found, images, (ours,))
        made.connect()
        made.rolled(made.spec("a", [workload(replicas=REPLICAS), service()]))
        _apply(found, floor, images["a"], folder)
        for number in range(ROUNDS):
            kubectl.append(_apply(found, floor, images["ba"[number % 2]], folder))
            rolling.append(_rolled(made, "b", {"rolling": {}}))
            canary.append(_rolled(made, "a", STEPS))
            aborts.append(_aborted(made, "b"))
    (first, goal, _), (second, ratio, _), (third, most, _) = NAMES
    tell([
        Result(first, median(rolling), median(kubectl), goal, "s", note="floor: kubectl apply, rollout status"),
        Result(second, median(canary), median(rolling), ratio, "s", note="floor: our rolling update"),
        Result(third, median(aborts), None, most, "s", judged="ours"),
    ])  # fmt: skip


def _rolled(made: Installation, version: str, strategy: dict[str, Any]) -> float:
    """Seconds from the stage's start to its success."""
    spec = made.spec(version, [workload(replicas=REPLICAS), service()], strategy)
    began = time.perf_counter()
    made.rolled(spec)
    took = time.perf_counter() - began
    _quiet(made)
    return took


def _aborted(made: Installation, version: str) -> float:
    """Seconds from the word to the stable release alone, ready; seen from outside, every 50 ms."""
    stable = next(iter(made.releases_of_pods()))
    spec, control = made.spec(version, [workload(replicas=REPLICAS), service()], HALF), Said()
    assert made.roll(spec, control=control)[0].state == "paused"
    control.orders = ("abort",)
    client = made.client()
    began = time.perf_counter()
    thread = threading.Thread(target=made.roll, args=(replace(spec, resumes=1), f"run-{spec.run}", control))
    thread.start()
    while _ready(client) != {stable: REPLICAS}:
        time.sleep(0.05)
    took = time.perf_counter() - began
    thread.join()
    _quiet(made)
    return took


def _ready(client: Any) -> Counter[str]:
    """Ready pods by release, and unready ones under "", those on their way out left aside."""
    found: Counter[str] = Counter()
    for pod in client.list("Pod", labels="app.kubernetes.io/managed-by=burger-stack"):
        if not pod["metadata"].get("deletionTimestamp"):
            conditions = (pod.get("status") or {}).get("conditions") or ()
            ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            found[pod["metadata"]["labels"]["burger-stack/release"] if ready else ""] += 1
    return found


def _quiet(made: Installation) -> None:
    """Until what was replaced is gone: pods that end cost the nodes time."""
    client = made.client()
    while any(pod["metadata"].get("deletionTimestamp") for pod in client.list("Pod")):
        time.sleep(0.1)


def _apply(found: Facts, namespace: str, image: str, folder: Path) -> float:
    """Seconds that kubectl takes for the same Deployment and Service."""
    web = workload(replicas=REPLICAS)
    container = web["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": image, "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}
    container["env"] = [{"name": "RELEASE", "value": image[-12:]}]
    path = folder / "floor.yaml"
    path.write_text(yaml.safe_dump_all([service(), web]))
    kubectl = [found.kubectl, "--kubeconfig", found.kubeconfig, "-n", namespace]
    began = time.perf_counter()
    subprocess.run([*kubectl, "apply", "-f", str(path)], check=True, capture_output=True)
    subprocess.run([*kubectl, "rollout", "status", "deployment/web"], check=True, capture_output=True)
    took = time.perf_counter() - began
    time.sleep(3)  # its old pods end meanwhile, as ours do before the next round
    return took


if __name__ == "__main__":
    main()
