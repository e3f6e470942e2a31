"""An environment on clusters, as hosts of an inventory: one for each namespace, each worked on from this machine."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from pipelines.executors import connections
from pipelines.executors.base import PlanError
from pipelines.executors.connections import ConnectionsError, Spot

GROUP = "clusters"
# What says of a host which place it is.
WHERE = ("burger_cluster", "burger_namespace", "burger_cluster_access")
COLLECTION = "kubernetes.core"
# Seconds: how long a cluster may take to say that it is there.
PATIENCE = 5.0

Spots = tuple[Spot, ...]


def spots_of(home: Path, environment: str | None) -> Spots:
    """Where the environment is on clusters; nothing for one on this machine. Raises PlanError."""
    try:
        found = connections.load(home).environments.get(environment or "")
    except ConnectionsError as error:
        raise PlanError(str(error)) from None
    return found.spots if found else ()


def check_collection(playbooks: Path) -> None:
    """Raises PlanError where neither this installation nor the repository brings the modules for clusters."""
    if (playbooks / "collections").is_dir():
        return
    try:
        found = importlib.util.find_spec(f"ansible_collections.{COLLECTION}")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise PlanError(
            f"The environment is on clusters, and Ansible's collection {COLLECTION} is not installed. Install the "
            "portal with its extra `cluster` (pip install 'burger-stack[cluster]'), which brings it."
        )


def inventory(spots: Spots) -> dict[str, Any]:
    """An inventory in JSON: the places in the group `clusters`, and in one group for each cluster."""
    groups: dict[str, Any] = {}
    for spot in spots:
        name = "cluster_" + re.sub(r"[^a-z0-9]", "_", spot.cluster.name)
        groups.setdefault(name, {"hosts": {}})["hosts"][spot.name] = _host(spot)
    return {GROUP: {"children": groups}}


def variables(spots: Spots) -> dict[str, Any]:
    """Where the places are, as variables that win over whatever files of a repository say of their hosts."""
    known = {spot.name: {name: _host(spot)[name] for name in WHERE} for spot in spots}
    return {"burger_places": known} | {name: f"{{{{ burger_places[inventory_hostname].{name} }}}}" for name in WHERE}


def _host(spot: Spot) -> dict[str, Any]:
    cluster = spot.cluster
    # What the modules of kubernetes.core look for where a task says nothing else; nothing in a pod of the cluster.
    access = {"K8S_AUTH_KUBECONFIG": cluster.kubeconfig and str(cluster.kubeconfig.resolve())}
    access["K8S_AUTH_CONTEXT"] = cluster.context
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_remote_tmp": "{{ lookup('ansible.builtin.env', 'ANSIBLE_LOCAL_TEMP') }}",
        "burger_cluster": cluster.name,
        "burger_namespace": spot.namespace,
        "burger_cluster_access": {name: value for name, value in access.items() if value},
    }


def away(spots: Iterable[Spot]) -> dict[str, str]:
    """The places whose cluster does not answer now, by name, and why. Takes `PATIENCE` seconds at most."""
    spots = tuple(spots)
    clusters = {spot.cluster.name: spot.cluster for spot in spots}
    if not clusters:
        return {}
    with ThreadPoolExecutor(len(clusters)) as pool:
        said = dict(zip(clusters, pool.map(_silence, clusters.values()), strict=True))
    return {spot.name: said[spot.cluster.name] for spot in spots if said[spot.cluster.name]}


def _silence(cluster: connections.Cluster) -> str:
    from pipelines.executors.kubernetes.client import Client
    from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError

    try:
        with closing(Client(cluster, patience=PATIENCE / 2, timeout=PATIENCE / 2)) as client:
            client.version()
    except ClusterAway as error:
        return str(error)
    except ClusterError:
        return ""  # it answers; what it refuses, the playbook is told
    return ""
