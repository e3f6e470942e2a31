"""What the tests of Ansible on clusters share: an installation, the project's playbooks as a commit, and a stage."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import yaml

from pipelines.executors.ansible import AnsibleExecutor
from pipelines.executors.base import Artifact, Log, Outcome, StageSpec, Unattended, Workplace
from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.store import Store

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-Geheimnis/ä"


def installation(folder, cache):
    """A state folder with the secret `shop-key`; `cache` has Ansible's compiled files."""
    found = folder / "home"
    (found / "secrets" / "platform").mkdir(parents=True)
    (found / "cache").symlink_to(cache)
    keep(found, "shop-key", SECRET)
    return found


def keep(home, name, value):
    path = home / "secrets" / "platform" / name
    path.write_text(value)
    path.chmod(0o600)


def connect(home, environment, clusters, places):
    """Write connections.yaml: `clusters` maps names to kubeconfigs, `places` are (cluster, namespace)."""
    content = {
        "clusters": {name: {"kubeconfig": str(path)} for name, path in clusters.items()},
        "environments": {environment: {"places": [{"cluster": c, "namespace": n} for c, n in places]}},
    }
    (home / "connections.yaml").write_text(yaml.safe_dump(content))


def workspace(home, **files):
    """The project's playbooks, and files beside them, as the tree of a commit."""
    tree = home.parent / "tree"
    shutil.copytree(PROJECT / "playbooks", tree / "playbooks")
    for name, text in files.items():
        path = tree / "playbooks" / (name if "." in name else f"{name}.yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    digest, size = Store(home).pack(tree)
    return Artifact("source", "workspace", digest, size)


def spec(artifact, **with_):
    return StageSpec(
        run=7,
        pipeline="shop",
        stage="configure",
        kind="ansible",
        owner="platform",
        commit="c" * 40,
        environment="staging",
        with_=with_,
        artifacts={artifact.name: artifact},
        timeout=300,
    )


def start(home, stage, key="a"):
    """(everything in the log, all that came besides, the outcome)."""
    events = list(AnsibleExecutor(Workplace(home)).start(stage, key, Unattended()))
    assert isinstance(events[-1], Outcome)
    return "".join(e.text for e in events if isinstance(e, Log)), events[:-1], events[-1]


def as_the_portal(cluster, namespace, target):
    """The path of a kubeconfig, for the account and the rights in `namespace` that the project ships."""
    role, binding = (
        yaml.safe_load((PROJECT / "docker/k8s/rbac" / f"{name}.yaml").read_text()) for name in ("role", "binding")
    )
    binding["subjects"][0]["namespace"] = namespace
    with closing(Client(Cluster("main", Path(cluster.kubeconfig)), namespace)) as admin:
        for item in (
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "burger-stack"}},
            role,
            binding,
        ):
            admin.apply(item)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/burger-stack/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        token = admin.raw("POST", path, None, request)["status"]["token"]
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    target.write_text(yaml.safe_dump(config))
    return target
