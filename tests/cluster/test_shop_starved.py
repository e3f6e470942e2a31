"""The project's own manifests and images on a machine that is too busy for them: who asks waits, and is answered."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.apply import apply
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.manifests import load
from pipelines.executors.kubernetes.render import Setting, render
from tests.cluster.argo_site import docker
from tests.cluster.facts import Facts, Gateway
from tests.cluster.layout import CHECKOUT, claimed, home_of
from tests.cluster.processes import run
from tests.cluster.rollout_helpers import until
from tests.cluster.shop import CERTIFICATES, pull_secret

pytestmark = [pytest.mark.cluster, pytest.mark.long]

HOST = "starved.shop.test"
# Longer than two readiness probes may take, shorter than a customer waits.
STARVED = 10.0
EVERY = 0.25  # seconds from one customer to the next


@pytest.fixture(scope="module")
def images(cluster: Facts) -> dict[str, str]:
    """By digest, as a release has them."""
    command, found = docker(cluster), {}
    bases = [f"{name.upper()}_IMAGE={image}" for name, image in cluster.base_image.items()]
    for name in ("backend", "database"):
        tag = f"{cluster.registry.address}/test/starved-{name}:{os.getpid()}"
        file = CHECKOUT / "docker" / name / "Dockerfile"
        words: list[str | Path] = ["build", "--quiet", "--network", "host", "--tag", tag, "--file", file]
        words += [word for base in bases for word in ("--build-arg", base)]
        secret = ["--secret", f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
        run([*command, *words, *secret, CHECKOUT], timeout=900, env={"DOCKER_BUILDKIT": "1"})
        run([*command, "push", "--quiet", tag], timeout=300)
        found[name] = run([*command, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]).strip()
        run([*command, "rmi", tag])
    return found


@pytest.fixture
def client(cluster: Facts, namespace: str) -> Iterator[Client]:
    with closing(Client(Cluster("main", Path(cluster.kubeconfig)), namespace)) as made:
        yield made


def shop(cluster: Facts, namespace: str, images: dict[str, str]) -> list[dict[str, Any]]:
    """What of the manifests answers for pages."""
    known = images | dict.fromkeys(("frontend", "agent"), images["backend"])
    setting = Setting(
        namespace=namespace, release="r1", images=known, host=HOST, pipeline="shop", environment="production"
    )
    secrets = {"shop-production-secret-key": "k" * 40, "shop-production-database-password": "hunter2"}
    loaded = load(CHECKOUT / "docker/k8s", "production")
    objects = render(loaded, setting, key=ContentKey(b"starved"), secrets=lambda name: secrets.get(name, ""))
    wanted = [item for item in objects if item["metadata"]["name"].split("-")[0] not in ("frontend", "agent")]
    assert cluster.gateway is not None
    gateway = cluster.gateway
    for item in wanted:
        if item["kind"] == "HTTPRoute":
            parent = {"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.section}
            item["spec"] |= {"parentRefs": [parent], "hostnames": [HOST]}
            item["spec"]["rules"] = item["spec"]["rules"][-1:]
    return wanted


def status(gateway: Gateway | None) -> int:
    assert gateway is not None
    return httpx.get(f"http://{gateway.address}/", headers={"Host": HOST}, timeout=60).status_code


@contextmanager
def without_a_turn(client: Client, component: str) -> Iterator[None]:
    """The processes of these pods get no time, as where others take all of it."""
    pods = [pod["metadata"]["uid"] for pod in client.list("Pod", labels=f"app={component}")]
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if any(f"/pod{uid}/" in path.read_text() for uid in pods):
                found.append(int(path.parent.name))
        except OSError:
            continue
    assert len(found) >= len(pods), (component, pods, found)
    try:
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def test_who_asks_a_shop_that_gets_no_turn_waits_and_is_answered(
    cluster: Facts, namespace: str, client: Client, images: dict[str, str]
) -> None:
    if claimed(home_of()) is None:
        pytest.skip("KUBECONFIG names another cluster, whose pods are no processes of this machine")
    assert cluster.gateway is not None
    client.apply(pull_secret(cluster, namespace))
    apply(client, shop(cluster, namespace, images))

    def ready() -> bool:
        pods = client.list("Pod", labels="app=backend")
        conditions = [one for pod in pods for one in pod["status"].get("conditions", ()) if one["type"] == "Ready"]
        return [one["status"] for one in conditions] == ["True", "True"]

    until(ready, "two backends that are ready", 180)
    until(lambda: status(cluster.gateway) == 200, "an answer by the route")
    for component in ("backend", "database"):
        with ThreadPoolExecutor(64) as pool, without_a_turn(client, component):
            coming = []
            began = time.monotonic()
            while time.monotonic() < began + STARVED:
                coming.append(pool.submit(status, cluster.gateway))
                time.sleep(EVERY)
        answers = Counter(one.result() for one in coming)
        events = [f"{one['involvedObject']['name']}: {one['message']}" for one in client.list("Event")]
        assert answers.keys() == {200}, (component, answers, events)
