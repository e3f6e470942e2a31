"""What the portal costs on Argo: a chain and a fan of no-op stages through it, against the same Workflow by itself.

    python -m tests.cluster.bench_argo [CHAIN] [FAN]

Both run the same image and the same pods; by itself, a pod starts Python and ends.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kubernetes import client, config

from tests.cluster.argo_site import ArgoSite, kubectl, runner_image
from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts
from tests.cluster.facts import facts as read_facts
from tests.torture.installation import eventually

CHAIN, FAN = 50, 100
LONGEST = 3600.0  # seconds for one of them


def chain(length: int) -> str:
    lines = [f"  - {{name: s{n}, kind: noop, owner: dev{f', needs: [s{n - 1}]' if n else ''}}}" for n in range(length)]
    return "\n".join(["name: chain", "engine: argo", "stages:", *lines])


def fan(width: int) -> str:
    values = ", ".join(f'"{n}"' for n in range(width))
    return f"name: fan\nengine: argo\nstages:\n  - {{name: s, kind: noop, owner: dev, matrix: {{n: [{values}]}}}}"


def through_the_portal(site: ArgoSite, text: str) -> float:
    began = time.monotonic()
    run = site.backstage.begin(text=text)
    assert site.finished(run, LONGEST) == "succeeded", site.story(run)
    return time.monotonic() - began


def by_itself(site: ArgoSite, name: str) -> float:
    """The same Workflow and templates, but for the pods' command and names."""
    found = json.loads(kubectl(site.facts, "get", "workflow", name, "-n", site.namespace, "-o", "json"))
    items: list[dict[str, Any]] = []
    for template in json.loads(kubectl(site.facts, "get", "workflowtemplates", "-n", site.namespace, "-o", "json"))[
        "items"
    ]:
        for one in template["spec"]["templates"]:
            if "container" in one:
                one["container"]["command"] = ["python3", "-c", "pass"]
        metadata = {"name": f"bare-{template['metadata']['name']}", "namespace": site.namespace}
        items.append({**template, "metadata": metadata})
    spec = json.loads(json.dumps(found["spec"]).replace('"name": "burger-noop', '"name": "bare-burger-noop'))
    bare = {"name": f"bare-{secrets.token_hex(3)}", "namespace": site.namespace}
    kubectl(site.facts, "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    item = {"apiVersion": found["apiVersion"], "kind": "Workflow", "metadata": bare, "spec": spec}
    began = time.monotonic()
    kubectl(site.facts, "create", "-f", "-", given=json.dumps(item))
    path = ["get", "workflow", bare["name"], "-n", site.namespace, "-o", "jsonpath={.status.phase}"]
    eventually(lambda: kubectl(site.facts, *path) == "Succeeded", LONGEST, site.cluster_says)
    return time.monotonic() - began


def measure(facts: Facts, sizes: tuple[int, int]) -> dict[str, Any]:
    core = client.CoreV1Api(config.new_client_from_config(config_file=facts.kubeconfig))
    namespace = f"bench-argo-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": namespace}})
    core.create_namespaced_secret(namespace, pull_secret(facts))
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        site = ArgoSite(Path(folder), facts, namespace, runner_image(facts))
        try:
            site.start()
            through_the_portal(site, chain(2))  # images and modules are there from now on
            for name, text in (("chain", chain(sizes[0])), ("fan", fan(sizes[1]))):
                portal = through_the_portal(site, text)
                bare = by_itself(site, site.last_workflow())
                measured[name] = {
                    "portal_s": round(portal, 1),
                    "bare_s": round(bare, 1),
                    "ratio": round(portal / bare, 2),
                }
                print(name, measured[name], file=sys.stderr, flush=True)
        finally:
            site.close()
            core.delete_namespace(namespace, grace_period_seconds=0)
    return measured


def main() -> int:
    if (facts := read_facts()) is None:
        print("No cluster is up: `make cluster` starts one.", file=sys.stderr)
        return 2
    sizes = tuple(int(word) for word in sys.argv[1:3]) or (CHAIN, FAN)
    print(json.dumps(measure(facts, (sizes[0], sizes[-1])), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
