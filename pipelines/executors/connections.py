"""What the work is done with, beyond this machine: a Docker Engine, registries, clusters; read from connections.yaml.

    docker:
      host: unix:///var/run/docker.sock
      cli: /usr/bin/docker
    registries:
      registry.example:5000: {ca: /etc/burger/registry-ca.pem, token_hosts: [auth.example]}
    clusters:
      main: {kubeconfig: /etc/burger/main.kubeconfig, context: main}
      here: {in_cluster: true}
    environments:
      production:
        url: https://burgers.example
        places:
          - {cluster: main, namespace: shop-north}
          - {cluster: main, namespace: shop-south}

The file lies in the installation's state folder and is written by those who operate it. A repository cannot say
where an environment is: otherwise a stage of staging could name the cluster of production.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = "connections.yaml"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")


class ConnectionsError(ValueError):
    """connections.yaml cannot be used; the message names the place, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Docker:
    """`host` is "" for the client's own default (DOCKER_HOST, else its socket); `cli` "" to look for one."""

    host: str = ""
    cli: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """`address` is HOST or HOST:PORT; `ca` a file of PEM certificates, None for the system's;
    `token_hosts` the other hosts that may be asked for a token with the registry's credential."""

    address: str
    ca: Path | None = None
    token_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """`kubeconfig` is None for the account of the pod that this runs in; `context` "" for the current one."""

    name: str
    kubeconfig: Path | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """One namespace of one cluster."""

    cluster: Cluster
    namespace: str

    @property
    def name(self) -> str:
        return f"{self.cluster.name}/{self.namespace}"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where an environment is on clusters. `url` is where customers reach it, "" where nobody said."""

    name: str
    spots: tuple[Spot, ...]
    url: str = ""


@dataclass(frozen=True, slots=True)
class Connections:
    docker: Docker = field(default_factory=Docker)
    registries: Mapping[str, Registry] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)

    def registry(self, address: str) -> Registry:
        """The registry at an address; one that is not listed is spoken to with the system's certificates."""
        return self.registries.get(address) or Registry(address)


def load(home: Path) -> Connections:
    """What `home`/connections.yaml says; nothing where there is none. Raises ConnectionsError."""
    path = home / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Connections()
    except OSError as error:
        raise ConnectionsError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConnectionsError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    return parse({} if data is None else data, path)


def parse(data: Any, path: Path) -> Connections:
    """`path` is where `data` was read: files in it are relative to its folder, and errors name it."""
    reader = _Reader(path)
    data = reader.mapping(data, "", {"docker", "registries", "clusters", "environments"})
    docker = reader.mapping(data.get("docker"), "docker", {"host", "cli"})
    clusters = {
        name: reader.cluster(name, value) for name, value in reader.named(data.get("clusters"), "clusters", _NAME)
    }
    return Connections(
        docker=Docker(reader.text(docker, "docker", "host"), reader.text(docker, "docker", "cli")),
        registries={
            name: reader.registry(name, value)
            for name, value in reader.named(data.get("registries"), "registries", _HOST)
        },
        clusters=clusters,
        environments={
            name: reader.environment(name, value, clusters)
            for name, value in reader.named(data.get("environments"), "environments", _NAME)
        },
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path

    def wrong(self, place: str, found: Any, expected: str) -> ConnectionsError:
        return ConnectionsError(f"{self.path}: {place or 'the file'} is {found!r}; expected {expected}.")

    def mapping(self, value: Any, place: str, keys: set[str]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(place, value, f"a mapping with {', '.join(sorted(keys))}")
        if unknown := sorted(str(key) for key in value if key not in keys):
            raise ConnectionsError(
                f"{self.path}: {place or 'the file'} has {', '.join(unknown)}; it may have {', '.join(sorted(keys))}."
            )
        return value

    def named(self, value: Any, place: str, pattern: re.Pattern[str]) -> list[tuple[str, Any]]:
        if value is not None and not isinstance(value, dict):
            raise self.wrong(place, value, "a mapping by name")
        for name in value or {}:
            if not isinstance(name, str) or not pattern.fullmatch(name):
                raise self.wrong(f"a name in {place}", name, "letters, digits and - between them")
        return list((value or {}).items())

    def text(self, data: Mapping[str, Any], place: str, key: str) -> str:
        value = data.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(f"{place}.{key}", value, "text")
        return value

    def file(self, data: Mapping[str, Any], place: str, key: str) -> Path | None:
        value = self.text(data, place, key)
        return self.path.parent / Path(value).expanduser() if value else None

    def registry(self, name: str, value: Any) -> Registry:
        place = f"registries.{name}"
        data = self.mapping(value, place, {"ca", "token_hosts"})
        hosts = data.get("token_hosts", [])
        if not isinstance(hosts, list) or not all(isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
            raise self.wrong(f"{place}.token_hosts", hosts, "a list of hosts")
        return Registry(name, self.file(data, place, "ca"), tuple(hosts))

    def cluster(self, name: str, value: Any) -> Cluster:
        place = f"clusters.{name}"
        data = self.mapping(value, place, {"kubeconfig", "context", "in_cluster"})
        kubeconfig = self.file(data, place, "kubeconfig")
        if (data.get("in_cluster") is True) == (kubeconfig is not None):
            raise ConnectionsError(f"{self.path}: {place} needs either `kubeconfig: FILE` or `in_cluster: true`.")
        return Cluster(name, kubeconfig, self.text(data, place, "context"))

    def environment(self, name: str, value: Any, clusters: Mapping[str, Cluster]) -> Environment:
        place = f"environments.{name}"
        data = self.mapping(value, place, {"url", "places"})
        spots = data.get("places")
        if not isinstance(spots, list) or not spots:
            raise self.wrong(f"{place}.places", spots, "a list of {cluster, namespace}")
        found = tuple(self.spot(f"{place}.places[{index}]", spot, clusters) for index, spot in enumerate(spots))
        if len(set(found)) != len(found):
            raise ConnectionsError(f"{self.path}: {place}.places names one namespace twice.")
        return Environment(name, found, self.text(data, place, "url").rstrip("/"))

    def spot(self, place: str, value: Any, clusters: Mapping[str, Cluster]) -> Spot:
        data = self.mapping(value, place, {"cluster", "namespace"})
        cluster, namespace = self.text(data, place, "cluster"), self.text(data, place, "namespace")
        if cluster not in clusters:
            raise self.wrong(f"{place}.cluster", cluster, f"one of the clusters {', '.join(clusters) or '(none)'}")
        if not _NAME.fullmatch(namespace):
            raise self.wrong(f"{place}.namespace", namespace, "the name of a namespace")
        return Spot(clusters[cluster], namespace)
