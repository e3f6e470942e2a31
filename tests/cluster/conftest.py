"""The cluster that tests of this folder run against, and a namespace for each."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.cluster import elsewhere, lifecycle
from tests.cluster.facts import Facts, facts

if TYPE_CHECKING:
    from tests.cluster.argo_site import ArgoSite

PULL_SECRET = "registry"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Facts]:
    """A cluster with its engine and registry: the one that KUBECONFIG names, else this checkout's, which is started
    where it is not up, and then stopped again."""
    own = facts()
    other = elsewhere.current(own)
    if other or own:
        yield other or own
        return
    lifecycle.up()
    found = facts()
    assert found is not None, "the cluster was started and has ended since: see log/ in its folder"
    yield found
    lifecycle.down()


@pytest.fixture(scope="session")
def kubernetes_client(cluster: Facts) -> Iterator[client.ApiClient]:
    """An administrator's connection, for `kubernetes.client.CoreV1Api(...)` and its like."""
    with config.new_client_from_config(config_file=cluster.kubeconfig) as made:
        yield made


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Call it with the name of one of `build.OPTIONAL` for its path; the first time that takes minutes."""
    return lifecycle.optional


@pytest.fixture
def make_namespace(cluster: Facts, kubernetes_client: client.ApiClient) -> Iterator[Callable[[], str]]:
    """Call it for a fresh namespace whose pods can pull from the registry; all are deleted after the test."""
    core = client.CoreV1Api(kubernetes_client)
    made: list[str] = []

    def make() -> str:
        name = f"test-{secrets.token_hex(4)}"
        core.create_namespace({"metadata": {"name": name, "labels": {"burger-stack/test": "true"}}})
        made.append(name)
        core.create_namespaced_secret(name, pull_secret(cluster))
        _let_pull(core, name)
        return name

    yield make
    for name in made:
        core.delete_namespace(name, grace_period_seconds=0)


@pytest.fixture
def namespace(make_namespace: Callable[[], str]) -> str:
    """A fresh namespace of the test's own."""
    return make_namespace()


@pytest.fixture(scope="module")
def site(
    cluster: Facts, kubernetes_client: client.ApiClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ArgoSite]:
    """A portal on this machine whose pipelines run on the cluster's Argo, in a namespace of their own."""
    from tests.cluster.argo_site import ArgoSite, runner_image

    core, namespace = client.CoreV1Api(kubernetes_client), f"test-argo-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": namespace, "labels": {"burger-stack/test": "true"}}})
    core.create_namespaced_secret(namespace, pull_secret(cluster))
    made = ArgoSite(tmp_path_factory.mktemp("argo"), cluster, namespace, runner_image(cluster))
    try:
        made.start()
        yield made
    finally:
        made.close()
        core.delete_namespace(namespace, grace_period_seconds=0)


def pull_secret(facts: Facts) -> dict[str, object]:
    """The manifest of a secret that lets pods pull from the registry."""
    registry = facts.registry
    token = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    content = json.dumps({"auths": {registry.address: {"auth": token}}})
    return {
        "metadata": {"name": PULL_SECRET},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": content},
    }


def _let_pull(core: client.CoreV1Api, namespace: str) -> None:
    """The default service account names the secret; the controller that makes accounts may come first."""
    pulls = {"imagePullSecrets": [{"name": PULL_SECRET}]}
    try:
        core.create_namespaced_service_account(namespace, {"metadata": {"name": "default"}, **pulls})
    except ApiException as error:
        if error.status != 409:
            raise
        core.patch_namespaced_service_account("default", namespace, pulls)
