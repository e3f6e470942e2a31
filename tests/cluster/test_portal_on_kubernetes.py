"""The portal by docker/portal/installation, on a real cluster as docs/operations.md says; its stages on Argo there; and
what the account of its pods may do, found out in one of them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.argo_site import runner_image
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT
from tests.cluster.portal_helpers import GREETING, Engine, images, run_a_pipeline
from tests.cluster.processes import run
from tests.cluster.rollout_helpers import until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

INSTALLATION = CHECKOUT / "docker" / "portal" / "installation"
RBAC = CHECKOUT / "docker" / "k8s" / "rbac"
PORTAL = ("deployment/burger-sweeper", "deployment/burger-web", "deployment/burger-workers")
INSIDE = """
import json, sys
from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.check import check
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Refused
here, namespace = Cluster("here"), sys.argv[1]
report = check(here, [namespace])
client = Client(here, namespace)
said = {"ok": report.ok, "problems": list(report.problems), "version": report.version}
if report.ok:
    client.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "proof"}, "data": {"by": "a pod"}})
    try:
        client.list("ConfigMap", namespace="kube-system")
    except Refused as error:
        said["elsewhere"] = error.code
print(json.dumps(said))
"""


class Installation:
    """The portal in a namespace of its own, with a database and what carries wake-ups beside it."""

    def __init__(self, facts: Facts, namespace: str) -> None:
        self.facts, self.namespace = facts, namespace

    def kubectl(self, *words: str, given: str | None = None, timeout: float = 120) -> str:
        command = [self.facts.kubectl, "--kubeconfig", self.facts.kubeconfig, "-n", self.namespace, *words]
        return run(command, given=given, timeout=timeout)

    def shell(self, script: str) -> str:
        return self.kubectl(
            "exec", "deploy/burger-web", "-c", "web", "--", "python", "manage.py", "shell", "-v", "0", "-c", script
        )

    def inside(self, namespace: str) -> dict[str, object]:
        """What a worker's pod finds of the cluster that it is in."""
        words = ["exec", "deploy/burger-workers", "-c", "workers", "--", "python", "-c", INSIDE, namespace]
        return dict(json.loads(self.kubectl(*words)))

    def rolled_out(self) -> None:
        for name in PORTAL:
            self.kubectl("rollout", "status", name, "--timeout=240s", timeout=260)


def beside(name: str, image: str, port: int, **env: str) -> dict[str, object]:
    """A Deployment and its Service, for what an installation has elsewhere."""
    labels = {"app": name}
    container = {"name": name, "image": image, "ports": [{"containerPort": port}]}
    container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"port": port}]}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        ],
    }


ON_ARGO = """\
name: flow
engine: argo
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: greet, kind: noop, owner: dev, needs: [build]}
"""


def overlay(folder: Path, namespace: str, tags: dict[str, str], runner: str, settings: str) -> None:
    """What an installation writes down for itself, as docs/operations.md has it."""
    folder.mkdir()
    (folder / "portal.env").write_text(settings)
    known = yaml.safe_load((INSTALLATION / "connections.yaml").read_text())
    known["argo"] |= {"namespace": namespace, "image": runner}
    (folder / "connections.yaml").write_text(yaml.safe_dump(known))
    name, _, digest = tags["portal"].partition("@")
    # Of these a cluster has one for all, and the demo has one too.
    rename = {"op": "replace", "path": "/metadata/name", "value": f"tokens-{namespace}"}
    follow = [
        {"op": "replace", "path": "/roleRef/name", "value": f"tokens-{namespace}"},
        {"op": "replace", "path": "/subjects/0/namespace", "value": namespace},
    ]
    apart = [
        {"target": {"kind": kind, "name": "burger-engine-tokens"}, "options": {"allowNameChange": True},
         "patch": json.dumps(patch)}
        for kind, patch in (("ClusterRole", [rename]), ("ClusterRoleBinding", [rename, *follow]))
    ]  # fmt: skip
    content = {
        "namespace": namespace,
        "resources": [os.path.relpath(INSTALLATION, folder)],
        "images": [{"name": "burger-portal", "newName": name, "digest": digest}],
        "secretGenerator": [{"name": "burger-portal", "envs": ["portal.env"]}],
        "configMapGenerator": [
            {"name": "burger-connections-portal", "behavior": "replace", "files": ["connections.yaml"]}
        ],
        "patches": apart,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def portal(cluster: Facts, namespace: str, tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "config").mkdir()
    engine = Engine(cluster, tmp_path / "config")
    tags = {name: engine.push(tag) for name, tag in images(engine).items()}
    made, password = Installation(cluster, namespace), secrets.token_hex(12)
    database = beside(
        "database", tags["database"], 5432, POSTGRES_USER="burger", POSTGRES_DB="burger", POSTGRES_PASSWORD=password
    )
    for items in (database, beside("valkey", tags["valkey"], 6379)):
        made.kubectl("apply", "-f", "-", given=json.dumps(items))
    settings = (
        f"BURGER_SECRET_KEY={secrets.token_hex(24)}\n"
        f"BURGER_DATABASE_URL=postgres://burger:{password}@database:5432/burger\n"
        "BURGER_REDIS_URL=redis://valkey:6379/0\n"
    )
    overlay(tmp_path / "mine", namespace, tags, runner_image(cluster), settings)
    made.kubectl("apply", "-k", str(tmp_path / "mine"))
    made.rolled_out()
    yield made
    for kind in ("clusterrole", "clusterrolebinding"):
        made.kubectl("delete", kind, f"tokens-{namespace}", "--ignore-not-found")


def test_the_portal_runs_pipelines_on_a_cluster_and_its_pods_reach_that_cluster(
    portal: Installation, make_namespace: Callable[[], str]
) -> None:
    address = "http://" + portal.kubectl("get", "service", "burger-portal", "-o", "jsonpath={.spec.clusterIP}")
    by_workers = run_a_pipeline(address, portal.shell)
    assert (by_workers["state"], GREETING in by_workers["said"]) == ("succeeded", True), by_workers
    by_argo = run_a_pipeline(address, portal.shell, "flow", ON_ARGO)
    assert by_argo["state"] == "succeeded", by_argo
    # The portal knows of the end when the last pod reports it, the Workflow a little later.
    phase = ["get", "workflows.argoproj.io", "-o", "jsonpath={.items[*].status.phase}"]
    until(lambda: portal.kubectl(*phase) == "Succeeded", "one Workflow that succeeded", 120)
    pods = json.loads(portal.kubectl("get", "pods", "-l", "burger-stack/owner=dev", "-o", "json"))["items"]
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"burger-dev"}

    place = make_namespace()
    role = [portal.facts.kubectl, "--kubeconfig", portal.facts.kubeconfig, "-n", place]
    run([*role, "apply", "-f", str(RBAC / "role.yaml")])
    lacking = until(lambda: portal.inside(place), "an answer")
    assert (lacking["ok"], "lacks rights" in str(lacking["problems"])) == (False, True)
    binding = ["--role=burger-stack", f"--serviceaccount={portal.namespace}:burger-engine"]
    run([*role, "create", "rolebinding", "burger-engine", *binding])
    found = portal.inside(place)
    assert (found["ok"], found["problems"], found["elsewhere"]) == (True, [], 403)
    proof = yaml.safe_load(run([*role, "get", "configmap", "proof", "-o", "yaml"]))
    assert proof["data"] == {"by": "a pod"}
