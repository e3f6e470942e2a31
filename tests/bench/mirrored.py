"""1,000 Workflows of others, mirrored at once: `python -m tests.bench.mirrored [HOW MANY]`.

They are in a real cluster, and nothing but this program changes them: no controller is told of them. What is timed is a
change, from the moment before the cluster is asked for it to its event at the socket of the page that shows the run;
ten at a time. The sweeper's memory is that of the one process that follows them all.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.facts import Facts, facts
from tests.torture.installation import Installation, eventually

from .result import Result, percentile, tell

MANY, SAMPLES, AT_ONCE = 1_000, 200, 10
LONGEST = 600.0  # seconds until all of them are runs
NAME = "change of a Workflow to its page, {} mirrored, p95"
GROUP = ("argoproj.io", "v1alpha1")
BEGAN = "2026-01-01T00:00:00Z"


def main() -> None:
    many = int(sys.argv[1]) if sys.argv[1:] else MANY
    found = facts()
    if found is None:
        note = "no cluster is up: make cluster"
        tell([Result(NAME.format(many), None, None, 1.0, "s", judged="ours", note=note)])
        return
    with tempfile.TemporaryDirectory(prefix="burger-bench-") as folder:
        tell([_measure(found, Path(folder), many)])


def _measure(found: Facts, folder: Path, many: int) -> Result:
    from kubernetes import client, config

    namespace = f"bench-mirrored-{secrets.token_hex(3)}"
    api = config.new_client_from_config(config_file=found.kubeconfig)
    api.configuration.connection_pool_maxsize = 4 * AT_ONCE
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    core.create_namespace({"metadata": {"name": namespace}})
    site = Installation(folder)
    try:
        _connect(site, found, namespace)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            make = partial(custom.create_namespaced_custom_object, *GROUP, namespace, "workflows")
            list(pool.map(make, map(_workflow, range(many))))
        before = _memory(site)
        began = time.monotonic()
        _watch(site, found, namespace)
        shown = "SELECT count(*) FROM pipelines_stage s JOIN pipelines_run r ON r.id = s.run_id " \
                "WHERE r.engine = 'workflow' AND s.name = 'build' AND s.state = 'running'"  # fmt: skip
        eventually(lambda: site.value(shown) >= many, LONGEST, site.logs)
        took = time.monotonic() - began
        times = _changes(site, custom, namespace, many)
        note = (
            f"median {percentile(times, 0.5):.2f} s; all were runs {took:.0f} s after they were first looked for; the "
            f"sweeper has {_memory(site):,.0f} MB ({before:,.0f} MB before)"
        )
        return Result(NAME.format(many), percentile(times, 0.95), None, 1.0, "s", judged="ours", note=note)
    finally:
        site.close()
        core.delete_namespace(namespace, grace_period_seconds=0)


def _connect(site: Installation, found: Facts, namespace: str) -> None:
    site.start()
    eventually(lambda: site.processes()["sweeper"], 60, site.logs)
    (site.home / "main.kubeconfig").touch(mode=0o600)
    (site.home / "main.kubeconfig").write_text(Path(found.kubeconfig).read_text())


def _watch(site: Installation, found: Facts, namespace: str) -> None:
    """From now on the portal looks for them."""
    watch = {"labels": "bench=mirrored", "pipeline": "demo", "owner": "ops"}
    place = {"cluster": "main", "namespace": namespace, "teams": ["ops"], "watch": [watch]}
    known = {"clusters": {"main": {"kubeconfig": "main.kubeconfig"}}, "workflows": {"ci": place}}
    (site.home / "connections.yaml").write_text(yaml.safe_dump(known))


def _memory(site: Installation) -> float:
    """Of the sweeper, in MB."""
    (sweeper,) = site.processes()["sweeper"]
    return float(sweeper.memory_info().rss) / 2**20


def _workflow(number: int) -> dict[str, Any]:
    """A chain of three tasks, the first of which has ended, the second runs."""
    name = f"w-{number}"
    leaf = {"name": "leaf", "container": {"image": "none", "command": ["true"]}}
    tasks = [
        {"name": "fetch", "template": "leaf"},
        {"name": "build", "template": "leaf", "dependencies": ["fetch"]},
        {"name": "ship", "template": "leaf", "dependencies": ["build"]},
    ]  # fmt: skip
    nodes = {name: {"id": name, "name": name, "type": "DAG", "phase": "Running", "startedAt": BEGAN}}
    for task, phase in (("fetch", "Succeeded"), ("build", "Running")):
        nodes[f"{name}-{task}"] = _node(name, task, phase)
    labels = {"bench": "mirrored", "workflows.argoproj.io/controller-instanceid": "nobody"}
    return {
        "apiVersion": "/".join(GROUP), "kind": "Workflow", "metadata": {"name": name, "labels": labels},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, leaf]},
        "status": {"phase": "Running", "startedAt": BEGAN, "nodes": nodes},
    }  # fmt: skip


def _node(workflow: str, task: str, phase: str) -> dict[str, Any]:
    ended = {"finishedAt": BEGAN} if phase == "Succeeded" else {}
    return {
        "id": f"{workflow}-{task}", "name": f"{workflow}.{task}", "displayName": task, "type": "HTTP",
        "templateName": "leaf", "phase": phase, "boundaryID": workflow, "startedAt": BEGAN, **ended,
    }  # fmt: skip


def _changes(site: Installation, custom: Any, namespace: str, many: int) -> list[float]:
    """Seconds of each."""
    session = site.backstage.session(user="ops-0")
    runs = dict(site.rows("SELECT a.name, r.number FROM pipelines_adoptedworkflow a "
                          "JOIN pipelines_run r ON r.id = a.run_id"))  # fmt: skip
    step = max(1, many // SAMPLES)
    numbers = list(range(0, many, step))[:SAMPLES]

    def change(number: int) -> float:
        return _change(site, custom, namespace, f"w-{number}", runs[f"w-{number}"], session)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(change, numbers))


def _change(site: Installation, custom: Any, namespace: str, name: str, run: int, session: str) -> float:
    """The second task ends: from before that is said to the cluster until the run's page is told."""
    from websockets.sync.client import connect

    headers = {"Cookie": f"burger_session_{site.port}={session}"}
    address = f"ws://127.0.0.1:{site.port}/ws/runs/demo/{run}/"
    with connect(address, additional_headers=headers, origin=site.url, max_size=None) as socket:  # type: ignore[arg-type]
        while json.loads(socket.recv(timeout=30))["type"] != "live":
            pass  # what was there before
        began = time.perf_counter()
        body = {"status": {"nodes": {f"{name}-build": {"phase": "Succeeded", "finishedAt": BEGAN}}}}
        custom.patch_namespaced_custom_object(
            *GROUP, namespace, "workflows", name, body, _content_type="application/merge-patch+json"
        )
        while '"succeeded"' not in socket.recv(timeout=60):
            pass
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
