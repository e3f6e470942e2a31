"""An installation whose pipelines run on Argo: the portal on this machine, the stages in pods of a real controller."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT
from tests.cluster.processes import run
from tests.torture.installation import Backstage, Installation, eventually

MANIFESTS = CHECKOUT / "docker" / "runner" / "k8s"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ACCOUNT = "burger-engine"
PULL_SECRET = "registry"


def kubectl(facts: Facts, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
    return run([facts.kubectl, "--kubeconfig", facts.kubeconfig, *arguments], given=given, timeout=timeout)


def runner_image(facts: Facts) -> str:
    """The image of docker/runner, built and pushed; by its digest."""
    tag = f"{facts.registry.address}/test/burger-runner:{os.getpid()}"
    docker = [facts.docker, "--config", str(_login(facts)), "--host", facts.docker_host]
    command = [
        "build",
        "--quiet",
        "--network",
        "host",
        "--build-arg",
        f"BASE={facts.base_image['python']}",
        "--tag",
        tag,
    ]
    secret = ["--secret", f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
    file = ["--file", str(CHECKOUT / "docker" / "runner" / "Dockerfile"), str(CHECKOUT)]
    run([*docker, *command, *secret, *file], timeout=1800, env={"DOCKER_BUILDKIT": "1"})
    run([*docker, "push", "--quiet", tag], timeout=600)
    return run([*docker, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]).strip()


def _login(facts: Facts) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="burger-docker-"))
    registry = facts.registry
    auth = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    return folder


def shipped(facts: Facts, namespace: str) -> list[dict[str, Any]]:
    """The accounts and rights that the project ships, for another namespace."""
    text = kubectl(facts, "kustomize", str(MANIFESTS)).replace("namespace: burger\n", f"namespace: {namespace}\n")
    items = [item for item in yaml.safe_load_all(text) if item["kind"] != "Namespace"]
    for item in items:
        if item["kind"].startswith("Cluster"):
            item["metadata"]["name"] += f"-{namespace}"
        if item["kind"] == "ClusterRoleBinding":
            item["roleRef"]["name"] += f"-{namespace}"
    return items


class ArgoSite(Installation):
    """`namespace` is where its Workflows run."""

    def __init__(self, home: Path, facts: Facts, namespace: str, image: str) -> None:
        super().__init__(home)
        assert facts.host, "the tests of Argo need an address of this machine that pods reach"
        self.facts, self.namespace = facts, namespace
        self.backstage.close()
        self.url = f"http://{facts.host}:{self.port}"
        self.env |= {
            "BURGER_PUBLIC_URL": self.url,
            "BURGER_LISTEN": facts.host,
            "BURGER_ALLOWED_HOSTS": f"{facts.host},127.0.0.1",
            "BURGER_WORKERS": "1",
            "BURGER_DATABASE_TIMEOUT": "10",
            "BURGER_LOG_LEVEL": "INFO",
        }
        self.backstage = Backstage({**self.env, "BURGER_DATABASE_TIMEOUT": "20"})
        self._prepare(image)

    def _prepare(self, image: str) -> None:
        items = shipped(self.facts, self.namespace)
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        kubectl(self.facts, "apply", "-f", "-", given=text)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "engine.kubeconfig").touch(mode=0o600)
        (self.home / "engine.kubeconfig").write_text(yaml.safe_dump(self._kubeconfig()))
        connections = {
            "clusters": {"main": {"kubeconfig": "engine.kubeconfig"}},
            "argo": {
                "cluster": "main",
                "namespace": self.namespace,
                "portal": self.url,
                "image": image,
                "pull_secrets": [PULL_SECRET],
            },
        }
        (self.home / "connections.yaml").write_text(yaml.safe_dump(connections))

    def _kubeconfig(self) -> dict[str, Any]:
        """As the administrator's, with a token of the portal's shipped account."""
        known = yaml.safe_load(Path(self.facts.kubeconfig).read_text())
        token = kubectl(self.facts, "create", "token", ACCOUNT, "-n", self.namespace, "--duration=24h").strip()
        used = next(one for one in known["contexts"] if one["name"] == known["current-context"])["context"]
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [one for one in known["clusters"] if one["name"] == used["cluster"]],
            "users": [{"name": ACCOUNT, "user": {"token": token}}],
            "contexts": [{"name": ACCOUNT, "context": {"cluster": used["cluster"], "user": ACCOUNT}}],
            "current-context": ACCOUNT,
        }

    def close(self) -> None:
        super().close()
        for kind in ("clusterrolebinding", "clusterrole"):
            name = f"burger-engine-tokens-{self.namespace}"
            kubectl(self.facts, "delete", kind, name, "--ignore-not-found")

    # --- looking ----------------------------------------------------------------------------------------------------

    def workflows(self) -> list[dict[str, Any]]:
        found = kubectl(self.facts, "get", "workflows.argoproj.io", "-n", self.namespace, "-o", "json")
        return list(json.loads(found)["items"])

    def stage(self, run: int, name: str) -> dict[str, Any]:
        columns = ("id", "state", "reason_code", "reason", "plan_digest", "attempts_made")
        query = f"SELECT {', '.join(columns)} FROM pipelines_stage WHERE run_id = ? AND name = ?"  # noqa: S608
        return dict(zip(columns, self.rows(query, run, name)[0], strict=True))

    def until(self, run: int, name: str, state: str, code: str = "", seconds: float = 120) -> dict[str, Any]:
        """Wait until a stage is in a state, for a reason if one is named."""

        def there() -> bool:
            found = self.stage(run, name)
            return found["state"] == state and found["reason_code"] == (code or found["reason_code"])

        eventually(there, seconds, lambda: f"{self.story(run)}\n{self.cluster_says()}\n{self.logs()}")
        return self.stage(run, name)

    def cluster_says(self) -> str:
        return kubectl(self.facts, "get", "workflows.argoproj.io,pods", "-n", self.namespace, "-o", "wide")

    def nodes(self, test: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The nodes of all Workflows that pass the test."""
        found = [(one.get("status") or {}).get("nodes") or {} for one in self.workflows()]
        return [node for nodes in found for node in nodes.values() if test(node)]

    def told(self, run: int, kind: str) -> list[dict[str, Any]]:
        """The data of a run's events of a kind."""
        rows = self.rows("SELECT data FROM pipelines_event WHERE run_id = ? AND kind = ? ORDER BY seq", run, kind)
        return [json.loads(data) for (data,) in rows]
