"""The portal by docker/portal/k8s, on a real cluster by the commands of docs/operations.md; and what the account of its
pods may do there, found out in one of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT
from tests.cluster.portal_helpers import Engine, images, run_a_pipeline
from tests.cluster.processes import run
from tests.cluster.rollout_helpers import until

pytestmark = pytest.mark.cluster

MANIFEST = CHECKOUT / "docker" / "portal" / "k8s" / "portal.yaml"
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


@pytest.fixture
def portal(cluster: Facts, namespace: str, tmp_path: Path) -> Installation:
    (tmp_path / "config").mkdir()
    engine = Engine(cluster, tmp_path / "config")
    tags = {name: engine.push(tag) for name, tag in images(engine).items()}
    made, password = Installation(cluster, namespace), secrets.token_hex(12)
    database = beside(
        "database", tags["database"], 5432, POSTGRES_USER="burger", POSTGRES_DB="burger", POSTGRES_PASSWORD=password
    )
    for items in (database, beside("valkey", tags["valkey"], 6379)):
        made.kubectl("apply", "-f", "-", given=json.dumps(items))
    settings = tmp_path / "portal.env"
    settings.write_text(
        f"BURGER_SECRET_KEY={secrets.token_hex(24)}\n"
        f"BURGER_DATABASE_URL=postgres://burger:{password}@database:5432/burger\n"
        "BURGER_REDIS_URL=redis://valkey:6379/0\n"
    )
    made.kubectl("create", "secret", "generic", "burger-portal", f"--from-env-file={settings}")
    manifest = MANIFEST.read_text().replace("image: burger-portal", f"image: {tags['portal']}")
    made.kubectl("apply", "-f", "-", given=manifest)
    pulls = json.dumps({"imagePullSecrets": [{"name": pull_secret(cluster)["metadata"]["name"]}]})
    made.kubectl("patch", "serviceaccount", "burger-portal", "-p", pulls)
    made.kubectl("rollout", "restart", *PORTAL)
    made.rolled_out()
    return made


def test_the_portal_runs_a_pipeline_on_a_cluster_and_its_pods_reach_that_cluster(
    portal: Installation, make_namespace: Callable[[], str]
) -> None:
    address = portal.kubectl("get", "service", "burger-portal", "-o", "jsonpath={.spec.clusterIP}")
    assert run_a_pipeline(f"http://{address}", portal.shell)["state"] == "succeeded"

    place = make_namespace()
    role = [portal.facts.kubectl, "--kubeconfig", portal.facts.kubeconfig, "-n", place]
    run([*role, "apply", "-f", str(RBAC / "role.yaml")])
    automount = json.dumps({"automountServiceAccountToken": True})
    portal.kubectl("patch", "serviceaccount", "burger-portal", "-p", automount)
    portal.kubectl(
        "rollout", "restart", "deployment/burger-web", "deployment/burger-workers", "deployment/burger-sweeper"
    )
    portal.rolled_out()
    lacking = until(lambda: portal.inside(place), "an answer")
    assert (lacking["ok"], "lacks rights" in str(lacking["problems"])) == (False, True)
    binding = ["--role=burger-stack", f"--serviceaccount={portal.namespace}:burger-portal"]
    run([*role, "create", "rolebinding", "burger-portal", *binding])
    found = portal.inside(place)
    assert (found["ok"], found["problems"], found["elsewhere"]) == (True, [], 403)
    proof = yaml.safe_load(run([*role, "get", "configmap", "proof", "-o", "yaml"]))
    assert proof["data"] == {"by": "a pod"}
