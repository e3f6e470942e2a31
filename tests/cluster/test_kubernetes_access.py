"""The test of a connection, and that the account which the project ships is enough, and no more than that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.apply import apply, prunable, prune
from pipelines.executors.kubernetes.check import check
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.diff import diff
from pipelines.executors.kubernetes.drift import drift
from pipelines.executors.kubernetes.errors import Refused
from pipelines.executors.kubernetes.manifests import load
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.kubernetes.render import Setting, render
from tests.cluster.facts import Facts

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "docker/k8s/rbac"


@pytest.fixture
def admin(cluster: Facts, namespace: str) -> Iterator[Client]:
    with closing(Client(Cluster("main", Path(cluster.kubeconfig)), namespace)) as made:
        yield made


@pytest.fixture
def account(admin: Client, tmp_path: Path) -> Cluster:
    """The cluster as the portal's account, which has no rights yet; its own namespace is that of the test."""
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "burger-stack"}})
    path = f"/api/v1/namespaces/{admin.namespace}/serviceaccounts/burger-stack/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = admin.raw("POST", path, None, request)["status"]["token"]
    config = yaml.safe_load(Path(admin.cluster.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    target = tmp_path / "kubeconfig"
    target.write_text(json.dumps(config))
    return Cluster("main", target)


def grant(admin: Client, drop: str = "") -> None:
    """The Role and RoleBinding as they are shipped, `drop` being a resource that is forgotten."""
    role = yaml.safe_load((RBAC / "role.yaml").read_text())
    role["rules"] = [rule for rule in role["rules"] if drop not in rule["resources"]]
    binding = yaml.safe_load((RBAC / "binding.yaml").read_text())
    binding["subjects"][0]["namespace"] = admin.namespace
    for item in (role, binding):
        admin.apply(item)


def test_an_account_without_rights_is_told_every_line_it_lacks(admin, account):
    report = check(account, [admin.namespace])
    assert report.reachable
    assert report.version.startswith("v1.")
    assert not report.ok
    (problem,) = report.problems
    assert f"main/{admin.namespace}: the account lacks rights. Apply docker/k8s/rbac there" in problem
    role = yaml.safe_load((RBAC / "role.yaml").read_text())
    lines = problem.split("\n", 1)[1]
    given = {(rule["apiGroups"][0], rule["resources"][0], *rule["verbs"]) for rule in role["rules"]}
    missing = {(rule["apiGroups"][0], rule["resources"][0], *rule["verbs"]) for rule in yaml.safe_load(lines)}
    assert missing == {rule for rule in given if report.gateway or rule[1] != "httproutes"}


def test_the_shipped_role_is_enough(admin, account):
    grant(admin)
    report = check(account, [admin.namespace])
    assert report.problems == ()
    assert report.ok


def test_one_forgotten_line_is_named(admin, account):
    grant(admin, drop="jobs")
    (problem,) = check(account, [admin.namespace]).problems
    assert problem.endswith(':\n- {apiGroups: ["batch"], resources: [jobs], verbs: [create, delete, get, list, patch]}')


def test_a_release_needs_no_more_than_the_shipped_role(admin, account):
    grant(admin)
    client = Client(account, admin.namespace)
    images = {
        name: f"registry.invalid/{name}@sha256:{'a' * 64}" for name in ("backend", "frontend", "database", "agent")
    }
    setting = Setting("shop", "staging", admin.namespace, "r1", images, host="shop.example")
    key = ContentKey(b"test")
    objects = render(load(ROOT / "docker/k8s", "staging"), setting, key=key, secrets=lambda name: name)
    objects = [item for item in objects if item["kind"] != "HTTPRoute" or client.has("HTTPRoute")]
    assert diff(client, objects, key=key)
    apply(client, objects)
    assert [one for one in drift(client, objects) if one.kind != "added"] == []
    stale = prunable(client, objects[:-1], pipeline="shop", environment="staging")
    assert prune(client, stale, pipeline="shop", environment="staging") == stale
    assert client.list("Pod") is not None


@pytest.mark.parametrize(
    "attempt",
    [
        lambda client: client.list("Secret", namespace="kube-system"),
        lambda client: client.delete(Ref("PersistentVolumeClaim", "data")),
        lambda client: client.get("v1/Node", "node1"),
        lambda client: client.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "more"},
                "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
            }
        ),
        lambda client: client.raw("POST", f"/api/v1/namespaces/{client.namespace}/pods/x/exec"),
    ],
)
def test_the_shipped_role_allows_no_more(admin, account, attempt):
    grant(admin)
    with pytest.raises(Refused) as caught:
        attempt(Client(account, admin.namespace))
    assert caught.value.code == 403


def test_a_quota_is_told(admin, account):
    grant(admin)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "3"}},
    }
    admin.apply(quota)
    admin.patch(
        Ref("ResourceQuota", "small"), {"status": {"hard": {"pods": "3"}, "used": {"pods": "1"}}}, subresource="status"
    )
    (place,) = check(account, [admin.namespace]).places
    assert [(one.name, one.resource, one.hard) for one in place.quota] == [("small", "pods", "3")]


def test_a_namespace_that_is_not_there_is_told(cluster):
    report = check(Cluster("main", Path(cluster.kubeconfig)), ["no-such-namespace"])
    (problem,) = report.problems
    assert 'namespaces "no-such-namespace" not found' in problem


def test_a_cluster_that_is_not_there_is_told(cluster, tmp_path):
    kubeconfig = Path(cluster.kubeconfig)
    away = check(Cluster("main", kubeconfig), ["x"], address="https://127.0.0.1:1")
    assert not away.reachable
    assert "does not answer" in away.problem
    missing = check(Cluster("main", tmp_path / "nothing"), ["x"])
    assert str(tmp_path / "nothing") in missing.problem
    wrong = check(Cluster("main", kubeconfig, "no-such-context"), ["x"])
    assert "no-such-context" in wrong.problem


def test_a_certificate_of_somebody_else_is_refused(cluster, tmp_path):
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    for one in config["clusters"]:
        one["cluster"].pop("certificate-authority-data", None)
        one["cluster"].pop("certificate-authority", None)
    target = tmp_path / "kubeconfig"
    target.write_text(json.dumps(config))
    report = check(Cluster("main", target), ["x"])
    assert not report.reachable
    assert "certificate" in report.problem


def test_credentials_that_were_renewed_are_read_again(admin, account):
    """A token that runs out is replaced in its file by whoever looks after it."""
    grant(admin)
    good = account.kubeconfig.read_text()
    client = Client(account, admin.namespace)
    token = yaml.safe_load(good)["users"][0]["user"]["token"]
    account.kubeconfig.write_text(good.replace(token, token[:-4] + "AAAA"))
    with pytest.raises(Refused) as caught:
        client.list("ConfigMap")
    assert caught.value.code == 401
    account.kubeconfig.write_text(good)
    assert client.list("ConfigMap")
