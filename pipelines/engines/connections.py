"""What connections.yaml names, for those who look at it, and a test of each on demand.

Another kind of connection is one more entry in `TESTS`, and its rows in `listed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.executors.connections import Connections, ConnectionsError, load


@dataclass(frozen=True, slots=True)
class Connection:
    """`kind` and `name` name it; `facts` is what the file says about it, in words."""

    kind: str
    name: str
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """How a test ended: in a sentence, what was seen, and what to do, "" where nothing has to be done."""

    ok: bool
    says: str
    facts: Mapping[str, str] = field(default_factory=dict)
    todo: str = ""


class UnknownConnection(Exception):
    """connections.yaml names no such thing."""


def listed(home: Path) -> tuple[list[Connection], str]:
    """All of them, and what is wrong with the file, "" if nothing is."""
    try:
        return list(_rows(load(home))), ""
    except ConnectionsError as error:
        return [], str(error)


def environments(home: Path) -> dict[str, str]:
    """The environments on clusters by name, and where customers reach each, "" where nobody said. Raises
    ConnectionsError."""
    return {name: found.url and f"{found.url}/" for name, found in load(home).environments.items()}


def tested(home: Path, kind: str, name: str) -> Finding:
    """Test one now; takes seconds, at most about a minute. Raises UnknownConnection."""
    rows, problem = listed(home)
    if problem:
        return Finding(False, problem, todo="Correct the file; it is read anew each time.")
    if kind not in TESTS or (kind, name) not in {(row.kind, row.name) for row in rows}:
        raise UnknownConnection(f"connections.yaml names no {kind} {name}.")
    return TESTS[kind](load(home), name)


def _rows(found: Connections) -> Iterator[Connection]:
    yield Connection("docker", "docker", "Docker Engine", _docker_facts(found))
    for address, registry in sorted(found.registries.items()):
        trust = str(registry.ca) if registry.ca else "the system's certificates"
        tokens = {"tokens from": ", ".join(registry.token_hosts)} if registry.token_hosts else {}
        yield Connection("registry", address, f"Registry {address}", {"trusts": trust, **tokens})
    for name, cluster in sorted(found.clusters.items()):
        account = (
            f"{cluster.kubeconfig} {cluster.context}".strip() if cluster.kubeconfig else "the account of its own pod"
        )
        yield Connection(
            "cluster", name, f"Cluster {name}", {"account": account, "namespaces": ", ".join(_told(found, name))}
        )
    if argo := found.argo:
        place = {"cluster": argo.cluster.name, "namespace": argo.namespace, "runner": argo.image}
        yield Connection("argo", "argo", "Argo Workflows", place | {"pods reach the portal at": argo.portal})


def _docker_facts(found: Connections) -> dict[str, str]:
    from pipelines.executors.build import builders
    from pipelines.executors.build.engine import Engine

    docker = found.docker
    builder = builders.find(docker)
    facts = {"at": Engine(docker.host).name, "builds with": builder.words}
    if not builder.buildkit:
        facts["no BuildKit because"] = "; ".join(builder.tried)
    return facts | ({"certificates for builds": str(docker.ca_bundle)} if docker.ca_bundle else {})


def _told(found: Connections, cluster: str) -> list[str]:
    """ "shop-north (production)"."""
    return [
        f"{spot.namespace} ({name})"
        for name, one in sorted(found.environments.items())
        for spot in one.spots
        if spot.cluster.name == cluster
    ]


def _used(found: Connections, cluster: str) -> list[str]:
    spots = {
        spot.namespace for one in found.environments.values() for spot in one.spots if spot.cluster.name == cluster
    }
    return sorted(spots)


def _test_docker(found: Connections, _name: str) -> Finding:
    from pipelines.executors.build.check import check

    report = check(found.docker)
    says = report.problem or f"It answers, and builds with {report.builder.words}."
    return Finding(not report.problem, says, report.facts, report.remedy)


def _test_registry(found: Connections, name: str) -> Finding:
    from pipelines.executors.oci.check import check

    ok, says = check(found.registry(name))
    return Finding(ok, says, todo="" if ok else "Check address and `ca` in connections.yaml, and whether it runs.")


def _test_cluster(found: Connections, name: str) -> Finding:
    from pipelines.executors.kubernetes.check import check  # a second to import

    report = check(found.clusters[name], _used(found, name))
    if not report.ok:
        return Finding(False, "\n".join(report.problems), todo=_todo(report.problem))
    facts = {
        "version": report.version,
        "traffic": "by weight (HTTPRoute)" if report.gateway else "by number of replicas",
    }
    for place in report.places:
        used = ", ".join(f"{one.resource} {one.used} of {one.hard}" for one in place.quota)
        facts |= {f"quota of {place.namespace}": used} if used else {}
    return Finding(True, "It answers, and the account may do what a release needs.", facts)


def _test_argo(found: Connections, _name: str) -> Finding:
    from pipelines.engines.argo.check import check
    from teams.models import Team

    if found.argo is None:
        return Finding(False, "connections.yaml does not name it any more.")
    report = check(found.argo, Team.objects.values_list("slug", flat=True))
    return Finding(
        not report.problem, report.problem or "It answers, and the accounts are there.", report.facts, report.remedy
    )


def _todo(problem: str) -> str:
    if not problem:
        return "Give the account these rights."
    if "Unauthorized" in problem:
        return (
            "The cluster is there, but does not take the account's credentials (any more): put a token or a "
            "certificate that is valid into its kubeconfig. docs/engines/kubernetes.md says how to make one."
        )
    return "Correct connections.yaml, or start the cluster."


TESTS: Mapping[str, Callable[[Connections, str], Finding]] = {
    "docker": _test_docker,
    "registry": _test_registry,
    "cluster": _test_cluster,
    "argo": _test_argo,
}
