"""The facts of a cluster that somebody else started: what KUBECONFIG names, told by the environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from kubernetes import client, config

from tests.cluster.facts import Facts, Gateway, Registry
from tests.cluster.layout import ClusterError


def facts_of(environment: Mapping[str, str], *, own: Facts | None) -> Facts | None:
    """The facts of the cluster that KUBECONFIG names, with the registry of BURGER_TEST_REGISTRY and the engine of
    DOCKER_HOST, else those of `own`, this checkout's cluster if it is up. None where KUBECONFIG names no other."""
    kubeconfig = environment.get("KUBECONFIG", "")
    if not kubeconfig or (own and kubeconfig == own.kubeconfig):
        return None
    base = _outside(environment, own)
    api = client.CoreV1Api(config.new_client_from_config(config_file=kubeconfig))
    nodes = [node.metadata.name for node in api.list_node().items]
    return replace(base, kubeconfig=kubeconfig, nodes=nodes, machines={}, gateway=_gateway(environment))


def _outside(environment: Mapping[str, str], own: Facts | None) -> Facts:
    """Everything but the cluster: engine, registry, base images, kubectl."""
    address = environment.get("BURGER_TEST_REGISTRY", "")
    if not address:
        if own:
            return replace(own, storage_class=None)
        raise ClusterError(
            "KUBECONFIG names a cluster of your own, and nothing says which registry it pulls from: set "
            "BURGER_TEST_REGISTRY=HOST:PORT (and _CA, _USERNAME, _PASSWORD), or unset KUBECONFIG."
        )
    registry = Registry(
        address=address,
        ca=environment.get("BURGER_TEST_REGISTRY_CA", ""),
        username=environment.get("BURGER_TEST_REGISTRY_USERNAME", ""),
        password=environment.get("BURGER_TEST_REGISTRY_PASSWORD", ""),
    )
    kubectl, docker = shutil.which("kubectl"), shutil.which("docker")
    if not kubectl or not docker:
        raise ClusterError("Tests against another cluster need kubectl and docker on the PATH.")
    return Facts(
        kubeconfig="",
        kubectl=kubectl,
        nodes=[],
        docker_host=environment.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        docker=docker,
        registry=registry,
        base_image={
            "debian": environment.get("BURGER_TEST_DEBIAN", "debian:bookworm-slim"),
            "python": environment.get("BURGER_TEST_PYTHON", "python:3.11-slim"),
        },
    )


def _gateway(environment: Mapping[str, str]) -> Gateway | None:
    """BURGER_TEST_GATEWAY is HOST:PORT/CLASS/NAMESPACE/NAME/SECTION; without it tests of weights have none."""
    named = environment.get("BURGER_TEST_GATEWAY", "")
    if not named:
        return None
    parts = named.split("/")
    if len(parts) != 5:
        raise ClusterError(f"BURGER_TEST_GATEWAY is {named!r}; expected HOST:PORT/CLASS/NAMESPACE/NAME/SECTION.")
    address, class_, namespace, name, section = parts
    return Gateway(address=address, class_=class_, name=name, namespace=namespace, section=section)


def current(own: Facts | None) -> Facts | None:
    return facts_of(os.environ, own=own)
