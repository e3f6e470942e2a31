"""Templates that lie on a cluster which connections.yaml names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.executors.connections import ConnectionsError, load

from .reading import Source
from .resolve import Elsewhere

PATIENCE = 5.0  # seconds for one object, its retries included
_API = "argoproj.io/v1alpha1"


class UnknownClusterError(Exception):
    """connections.yaml names no such cluster, or cannot be read; the message is a whole sentence."""


def names(home: Path) -> list[str]:
    """The clusters that connections.yaml names; none where it cannot be read."""
    try:
        return sorted(load(home).clusters)
    except ConnectionsError:
        return []


def templates_of(home: Path, name: str, namespace: str = "default") -> Elsewhere:
    """What looks up WorkflowTemplates and ClusterWorkflowTemplates there, in `namespace` where a workflow says none.

    Reads only, and with the rights of the account that connections.yaml names. Raises UnknownClusterError.
    """
    try:
        cluster = load(home).clusters.get(name)
    except ConnectionsError as error:
        raise UnknownClusterError(str(error)) from error
    if cluster is None:
        known = ", ".join(names(home)) or "none"
        raise UnknownClusterError(f"connections.yaml names no cluster {name}; it names {known}.")
    from pipelines.executors.kubernetes.client import Client  # a second to import
    from pipelines.executors.kubernetes.errors import ClusterAway, Refused

    client = Client(cluster, namespace, patience=PATIENCE, timeout=PATIENCE)
    away: list[str] = []

    def find(kind: str, wanted: str, template: str) -> Source | None:
        if away:
            raise LookupError(away[0])  # one answer is enough: it would be waited for again with each template
        where = "" if kind.startswith("Cluster") else wanted or namespace
        try:
            found = client.get(f"{_API}/{kind}", template, where)
        except (ClusterAway, OSError) as error:
            away.append(f"The cluster {name} does not answer: {error}")
            raise LookupError(away[0]) from error
        except Refused as error:
            raise LookupError(f"The cluster {name} does not give {kind} {template}: {error}") from error
        return _source(f"{name}:{where}/{template}", found) if found else None

    return find


def _source(title: str, found: dict[str, Any]) -> Source:
    """As text again, a key to a line, so that a problem in it has a place."""
    metadata = {key: value for key, value in found["metadata"].items() if key in ("name", "namespace", "labels")}
    kept = {"apiVersion": _API, "kind": found.get("kind"), "metadata": metadata, "spec": found.get("spec")}
    return Source(title, json.dumps(kept, indent=2).encode())
