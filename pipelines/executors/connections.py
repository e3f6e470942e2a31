"""What the work is done with, beyond this machine: a Docker Engine, registries, clusters; read from connections.yaml.

    docker:
      host: unix:///var/run/docker.sock
      cli: /usr/bin/docker
      ca_bundle: /etc/ssl/certs/ca-certificates.crt
      args: {PYTHON_IMAGE: registry.example:5000/python:3.11}
      trusted_refs: [refs/heads/main, "refs/tags/*"]
    registries:
      registry.example:5000: {ca: /etc/burger/registry-ca.pem, token_hosts: [auth.example]}
    clusters:
      main: {kubeconfig: /etc/burger/main.kubeconfig, context: main}
      here: {in_cluster: true}
    secrets:
      store: {key: /etc/burger/store.key}
      vault: {address: "https://vault.example:8200", token: /run/vault/token, mount: secret, path: "burger/{team}"}
      kubernetes: {cluster: main, namespace: "secrets-{team}"}
    workflows:
      ci: {cluster: main, namespace: shop-ci, teams: {dev: [dev-builds]}}
    argo:
      cluster: main
      namespace: burger
      portal: https://burger.example
      image: registry.example:5000/burger-runner@sha256:...
      pull_secrets: [registry]
    environments:
      production:
        url: https://burgers.example
        collector: https://portal.example
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

from pipelines.executors.workflow_places import PlaceReader, WorkflowPlace

FILE = "connections.yaml"
TRUSTED_REFS = ("refs/heads/main", "refs/heads/master", "refs/heads/release/*", "refs/tags/*")
KEEP = 86_400  # seconds
VAULT_PATH, VAULT_MOUNT = "burger/{team}", "secret"
_VAULT = re.compile(r"https://\S+|http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")


class ConnectionsError(ValueError):
    """connections.yaml cannot be used; the message names the place, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Docker:
    """`host` is "" for the client's own default (DOCKER_HOST, else its socket); `cli` "" to look for one.

    `ca_bundle` is a file of PEM certificates that builds may mount, `args` are build arguments for every Dockerfile
    that declares them, `trusted_refs` are globs of the refs whose builds share a cache that no other build reaches.
    """

    host: str = ""
    cli: str = ""
    ca_bundle: Path | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    trusted_refs: tuple[str, ...] = TRUSTED_REFS


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
    """Where an environment is on clusters. `url` is where customers reach it, `collector` where its pods report what
    they measure; each "" where nobody said."""

    name: str
    spots: tuple[Spot, ...]
    url: str = ""
    collector: str = ""


@dataclass(frozen=True, slots=True)
class Vault:
    """`address` without a slash at its end; `token` is a file, read for each secret, so that it may be renewed; `path`
    holds `{team}`, and lies below `mount`, a KV engine of version 2."""

    address: str
    token: Path
    path: str = VAULT_PATH
    mount: str = VAULT_MOUNT
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class SecretNamespaces:
    """A cluster, and the namespace of each team's secrets in it: `namespace` holds `{team}`."""

    cluster: Cluster
    namespace: str


@dataclass(frozen=True, slots=True)
class SecretStores:
    """`store_key` is the file with the password of the teams' encrypted files; None for what is not used."""

    store_key: Path | None = None
    vault: Vault | None = None
    kubernetes: SecretNamespaces | None = None


@dataclass(frozen=True, slots=True)
class Argo:
    """Where pipelines with `engine: argo` run: one namespace of a cluster with a workflow controller.

    `portal` is the portal's address as pods reach it, `ca` the name of a ConfigMap with the certificates that it is
    trusted by, "" for the system's. `account` is the service account of each team's stages, with `{team}` in it.
    `instance` is the controller's instance id, "" for one without. `configuration` is the ConfigMap with the
    connections.yaml that the stages get, `secrets` the Secret with those of a team. `keep` is for how many seconds a
    Workflow stays in the cluster after its end. `controller` is the namespace of the controller's Deployment.
    """

    cluster: Cluster
    namespace: str
    portal: str
    image: str
    ca: str = ""
    account: str = "burger-{team}"
    instance: str = ""
    pull_secrets: tuple[str, ...] = ()
    configuration: str = "burger-connections"
    secrets: str = "burger-secrets-{team}"
    keep: int = KEEP
    controller: str = "argo"


@dataclass(frozen=True, slots=True)
class Connections:
    docker: Docker = field(default_factory=Docker)
    registries: Mapping[str, Registry] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    secrets: SecretStores = field(default_factory=SecretStores)
    workflows: Mapping[str, WorkflowPlace] = field(default_factory=dict)
    argo: Argo | None = None

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
    known = {"docker", "registries", "clusters", "environments", "secrets", "workflows", "argo"}
    data = reader.mapping(data, "", known)
    clusters = {
        name: reader.cluster(name, value) for name, value in reader.named(data.get("clusters"), "clusters", _NAME)
    }
    return Connections(
        docker=reader.docker(data.get("docker")),
        registries={
            name: reader.registry(name, value)
            for name, value in reader.named(data.get("registries"), "registries", _HOST)
        },
        clusters=clusters,
        environments={
            name: reader.environment(name, value, clusters)
            for name, value in reader.named(data.get("environments"), "environments", _NAME)
        },
        secrets=reader.secrets(data.get("secrets"), clusters),
        workflows=reader.workflows(data.get("workflows"), clusters),
        argo=reader.argo(data["argo"], clusters) if data.get("argo") else None,
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

    def docker(self, value: Any) -> Docker:
        data = self.mapping(value, "docker", {"host", "cli", "ca_bundle", "args", "trusted_refs"})
        args, refs = data.get("args") or {}, data.get("trusted_refs", list(TRUSTED_REFS))
        if not isinstance(args, dict) or not all(isinstance(text, str) for pair in args.items() for text in pair):
            raise self.wrong("docker.args", args, "a mapping of build arguments to texts")
        if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
            raise self.wrong("docker.trusted_refs", refs, 'a list of globs such as "refs/heads/main"')
        return Docker(
            host=self.text(data, "docker", "host"),
            cli=self.text(data, "docker", "cli"),
            ca_bundle=self.file(data, "docker", "ca_bundle"),
            args=args,
            trusted_refs=tuple(refs),
        )

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

    def secrets(self, value: Any, clusters: Mapping[str, Cluster]) -> SecretStores:
        data = self.mapping(value, "secrets", {"store", "vault", "kubernetes"})
        store = self.mapping(data.get("store"), "secrets.store", {"key"})
        return SecretStores(
            store_key=self.file(store, "secrets.store", "key"),
            vault=self.vault(data["vault"]) if data.get("vault") else None,
            kubernetes=self.secret_namespaces(data["kubernetes"], clusters) if data.get("kubernetes") else None,
        )

    def workflows(self, value: Any, clusters: Mapping[str, Cluster]) -> dict[str, WorkflowPlace]:
        places = PlaceReader(self.wrong, self.mapping, self.path.parent, clusters)
        return {name: places.read(name, one) for name, one in self.named(value, "workflows", _NAME)}

    def vault(self, value: Any) -> Vault:
        place = "secrets.vault"
        data = self.mapping(value, place, {"address", "token", "mount", "path", "ca"})
        address, token = self.text(data, place, "address").rstrip("/"), self.file(data, place, "token")
        if not _VAULT.fullmatch(address):
            raise self.wrong(f"{place}.address", address, "https://HOST:PORT, for a token goes there")
        if token is None:
            raise ConnectionsError(f"{self.path}: {place} needs `token: FILE`.")
        path = self.of_teams(data.get("path", VAULT_PATH), f"{place}.path")
        return Vault(address, token, path, self.text(data, place, "mount") or VAULT_MOUNT, self.file(data, place, "ca"))

    def secret_namespaces(self, value: Any, clusters: Mapping[str, Cluster]) -> SecretNamespaces:
        place = "secrets.kubernetes"
        data = self.mapping(value, place, {"cluster", "namespace"})
        cluster = self.text(data, place, "cluster")
        if cluster not in clusters:
            raise self.wrong(f"{place}.cluster", cluster, f"one of the clusters {', '.join(clusters) or '(none)'}")
        return SecretNamespaces(clusters[cluster], self.of_teams(data.get("namespace"), f"{place}.namespace"))

    def argo(self, value: Any, clusters: Mapping[str, Cluster]) -> Argo:
        texts = {"cluster", "namespace", "portal", "image", "ca", "account", "instance", "configuration", "secrets"}
        texts |= {"controller"}
        data = self.mapping(value, "argo", texts | {"pull_secrets", "keep"})
        given = {key: found for key in texts if (found := self.text(data, "argo", key))}
        if missing := sorted({"cluster", "namespace", "portal", "image"} - set(given)):
            raise ConnectionsError(f"{self.path}: argo needs {' and '.join(f'`{key}:`' for key in missing)}.")
        if given["cluster"] not in clusters:
            known = ", ".join(clusters) or "(none)"
            raise self.wrong("argo.cluster", given["cluster"], f"one of the clusters {known}")
        for key in {"account", "secrets"} & set(given):
            self.of_teams(given[key], f"argo.{key}")
        pulls, keep = data.get("pull_secrets") or [], data.get("keep", KEEP)
        if not isinstance(pulls, list) or not all(isinstance(name, str) for name in pulls):
            raise self.wrong("argo.pull_secrets", pulls, "a list of names of secrets")
        if not isinstance(keep, int) or keep < 0:
            raise self.wrong("argo.keep", keep, "a number of seconds")
        cluster, portal = clusters[given.pop("cluster")], given.pop("portal").rstrip("/")
        namespace, image = given.pop("namespace"), given.pop("image")
        return Argo(cluster, namespace, portal, image, pull_secrets=tuple(pulls), keep=keep, **given)

    def of_teams(self, value: Any, place: str) -> str:
        """Text in which nothing but `{team}` is left to be filled in, so that no two teams share a place."""
        if not isinstance(value, str) or value.count("{team}") != 1 or re.search(r"[{}]", value.replace("{team}", "")):
            raise self.wrong(place, value, 'a text with {team} in it, such as "burger/{team}"')
        return value

    def environment(self, name: str, value: Any, clusters: Mapping[str, Cluster]) -> Environment:
        place = f"environments.{name}"
        data = self.mapping(value, place, {"url", "collector", "places"})
        spots = data.get("places")
        if not isinstance(spots, list) or not spots:
            raise self.wrong(f"{place}.places", spots, "a list of {cluster, namespace}")
        found = tuple(self.spot(f"{place}.places[{index}]", spot, clusters) for index, spot in enumerate(spots))
        if len(set(found)) != len(found):
            raise ConnectionsError(f"{self.path}: {place}.places names one namespace twice.")
        url, collector = (self.text(data, place, key).rstrip("/") for key in ("url", "collector"))
        return Environment(name, found, url, collector)

    def spot(self, place: str, value: Any, clusters: Mapping[str, Cluster]) -> Spot:
        data = self.mapping(value, place, {"cluster", "namespace"})
        cluster, namespace = self.text(data, place, "cluster"), self.text(data, place, "namespace")
        if cluster not in clusters:
            raise self.wrong(f"{place}.cluster", cluster, f"one of the clusters {', '.join(clusters) or '(none)'}")
        if not _NAME.fullmatch(namespace):
            raise self.wrong(f"{place}.namespace", namespace, "the name of a namespace")
        return Spot(clusters[cluster], namespace)
