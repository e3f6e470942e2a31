"""What a cluster needs before the portal may roll the demo's shop out to it: namespaces, rights, and how to reach them.

The portal gets the account that the project ships, with the rights of docker/k8s/rbac and no others.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT, SHOPS, ClusterError
from tests.cluster.processes import run

RBAC = CHECKOUT / "docker" / "k8s" / "rbac"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ACCOUNT = "burger-stack"


def connect(facts: Facts, home: Path, shops: dict[str, str]) -> None:
    """Make the namespaces, and write connections.yaml and the registry's credential into an installation's home.

    `shops` has HOST:PORT of the gateway for each namespace: staging, and the two places of production."""
    if set(shops) != set(SHOPS):
        raise ClusterError(f"The demo's namespaces are {', '.join(SHOPS)}, found {', '.join(shops)}.")
    cluster = _Cluster(facts)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNT}})
    cluster.apply_file(RBAC / "account.yaml")
    if not (home / "secrets").exists():
        # The databases of another installation have passwords that this one does not know.
        cluster.remove("namespace", *shops)
    for name in shops:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        cluster.apply(pull_secret(facts, name))
        cluster.apply_file(RBAC / "role.yaml", name)
        cluster.apply_file(RBAC / "binding.yaml", name)
    _pull_bases(facts)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    write(home / "clusters" / "test.kubeconfig", yaml.safe_dump(cluster.account_kubeconfig()))
    write(home / "connections.yaml", yaml.safe_dump(_connections(facts, shops), sort_keys=False))
    for name, value in (("username", facts.registry.username), ("password", facts.registry.password)):
        write(home / "secrets" / "platform" / f"registry-{name}", value)


def _connections(facts: Facts, shops: dict[str, str]) -> dict[str, Any]:
    staging, *production = SHOPS
    docker: dict[str, Any] = {
        "host": facts.docker_host,
        "cli": facts.docker,
        "args": {"PYTHON_IMAGE": facts.base_image["python"], "DEBIAN_IMAGE": facts.base_image["debian"]},
    }
    if CERTIFICATES.exists():
        docker["ca_bundle"] = str(CERTIFICATES)
    registry = {"ca": facts.registry.ca} if facts.registry.ca else {}
    return {
        "docker": docker,
        "registries": {facts.registry.address: registry},
        "clusters": {"test": {"kubeconfig": "clusters/test.kubeconfig"}},
        "environments": {
            name: {
                "url": f"http://{shops[namespaces[0]]}",
                "places": [{"cluster": "test", "namespace": namespace} for namespace in namespaces],
            }
            for name, namespaces in {"staging": [staging], "production": production}.items()
        },
    }


def _pull_bases(facts: Facts) -> None:
    """The builds of a team that has no credential of the registry find their base images in the engine."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "config.json", _login(facts))
        for image in facts.base_image.values():
            command = [facts.docker, "--config", folder, "--host", facts.docker_host, "pull", "--quiet", image]
            run(command, timeout=300)


def _login(facts: Facts) -> str:
    """As docker's config.json has it."""
    registry = facts.registry
    login = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    return json.dumps({"auths": {registry.address: {"auth": login}}})


def pull_secret(facts: Facts, namespace: str) -> dict[str, Any]:
    """What lets pods of a namespace pull from the registry."""
    content = _login(facts)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "registry", "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
    }


class _Cluster:
    """The cluster as its administrator, by kubectl."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def apply(self, item: dict[str, Any]) -> None:
        self._kubectl("apply", "-f", "-", given=json.dumps(item))

    def remove(self, kind: str, *names: str) -> None:
        """Returns once they are gone."""
        self._kubectl("delete", kind, *names, "--ignore-not-found", timeout=300)

    def apply_file(self, path: Path, namespace: str = ACCOUNT) -> None:
        self._kubectl("apply", "-n", namespace, "-f", str(path))

    def account_kubeconfig(self) -> dict[str, Any]:
        """As the administrator's, with a token of the shipped account instead of the administrator's certificate."""
        token = self._kubectl("create", "token", ACCOUNT, "-n", ACCOUNT, "--duration=720h").strip()
        return self._facts.kubeconfig_of(ACCOUNT, token)

    def _kubectl(self, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
        command = [self._facts.kubectl, "--kubeconfig", self._facts.kubeconfig, *arguments]
        return run(command, given=given, timeout=timeout)


def write(path: Path, text: str) -> None:
    """Readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
