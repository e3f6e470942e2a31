"""What people are shown of an environment, wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.executors import connections
from pipelines.executors.rollout.local import target as local


def status(home: Path, environment: str) -> dict[str, Any]:
    """As `local.target.status`; of an environment on clusters also "places" and "drift", see `kubernetes.shown`.

    Raises OSError or ValueError with a sentence where it cannot be found out.
    """
    there = connections.load(home).environments.get(environment)
    if there is None:
        return local.status(home, environment)
    from pipelines.executors.rollout.kubernetes import shown

    return shown.status(home, there)


def releases(home: Path, environment: str) -> list[dict[str, Any]]:
    """As `local.target.releases`. Raises OSError or ValueError."""
    there = connections.load(home).environments.get(environment)
    if there is None:
        return local.releases(home, environment)
    from pipelines.executors.rollout.kubernetes import shown

    return shown.releases(there)


def retire(home: Path) -> list[str]:
    """Take away what blue-green kept and whose time is over, in all environments on clusters: "ENVIRONMENT: RELEASE".
    One of this machine does so by itself. Raises OSError or ValueError."""
    done = []
    for name, there in connections.load(home).environments.items():
        from pipelines.executors.kubernetes.errors import ClusterError
        from pipelines.executors.rollout.kubernetes import settling

        try:
            done += [f"{name}: {release}" for release in settling.retire(there)]
        except ClusterError as error:
            raise OSError(str(error)) from error
    return done


def address(home: Path, environment: str, ports: Mapping[str, int]) -> str:
    """Where this machine reaches an environment, without a path: the `url` of connections.yaml where it is on
    clusters, else its port. "" where neither says. Raises ConnectionsError."""
    there = connections.load(home).environments.get(environment)
    if there is not None:
        return there.url
    port = ports.get(environment)
    return f"http://127.0.0.1:{port}" if port else ""
