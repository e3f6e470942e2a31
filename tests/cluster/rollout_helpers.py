"""What the tests of rollouts to clusters share: a tiny image, an installation whose environment is on the cluster,
manifests, clients that ask all the time."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipelines.executors import connections, rollout
from pipelines.executors.base import Artifact, Measured, Outcome, StageSpec, Unattended, Workplace, Yielded
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.store import Store
from tests.cluster.build import go
from tests.cluster.facts import Facts

SOURCE = Path(__file__).parent / "rollout_server"
REPOSITORY = "test/rollout-server"
DOCKERFILE = (
    'FROM scratch\nARG VERSION\nLABEL version=$VERSION\nCOPY server /server\nUSER 1000\nENTRYPOINT ["/server"]\n'
)


def until(true: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


@dataclass
class Images:
    """The server, pushed once for each version: the same program under different digests."""

    facts: Facts
    folder: Path
    known: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, version: str) -> str:
        if version not in self.known:
            self.known[version] = self._push(version)
        return self.known[version]

    def _push(self, version: str) -> str:
        binary = self.folder / "server"
        if not binary.exists():
            command = [go(), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(binary), "main.go"]
            subprocess.run(command, cwd=SOURCE, env=os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off"}, check=True)
            (self.folder / "Dockerfile").write_text(DOCKERFILE)
        registry = self.facts.registry
        tag = f"{registry.address}/{REPOSITORY}:{version}"
        self._docker("build", "-q", "--build-arg", f"VERSION={version}", "-t", tag, str(self.folder))
        login = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        self._docker("--config", str(config), "push", "-q", tag)
        digests = json.loads(self._docker("image", "inspect", "-f", "{{json .RepoDigests}}", tag))
        return next(digest for digest in digests if digest.startswith(f"{registry.address}/{REPOSITORY}@"))

    def _docker(self, *arguments: str) -> str:
        command = [self.facts.docker, "--host", self.facts.docker_host, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    def pull_secret(self) -> dict[str, Any]:
        registry = self.facts.registry
        login = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        content = json.dumps({"auths": {registry.address: {"auth": login}}})
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "pull"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
        }


def container(component: str = "web", **env: str) -> dict[str, Any]:
    return {
        "name": "server",
        "image": component,
        "ports": [{"containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }


def workload(kind: str = "Deployment", name: str = "web", replicas: int = 4, **env: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container(**env)]}},
    }
    if kind != "DaemonSet":
        spec["replicas"] = replicas
    if kind == "StatefulSet":
        spec["serviceName"] = name
    notes = {"burger-stack/drain": "2s"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "annotations": notes}, "spec": spec}


def service(name: str = "web") -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def route(facts: Facts, host: str, name: str = "web") -> dict[str, Any]:
    assert facts.gateway is not None
    gateway = facts.gateway
    parent = {"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.section}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [parent], "hostnames": [host], "rules": [{"backendRefs": [{"name": name, "port": 80}]}]},
    }


@dataclass
class Said:
    """A Control: `orders` and `stop` may be set while the rollout runs."""

    orders: tuple[str, ...] = ()
    stop: bool = False

    def stopping(self) -> bool:
        return self.stop

    def commands(self) -> tuple[str, ...]:
        return self.orders


@dataclass
class Installation:
    """`namespaces` are the places of its one environment, staging; `measured` reads what its pods report."""

    home: Path
    facts: Facts
    images: Images
    namespaces: tuple[str, ...]
    runs: int = 0
    measured: Callable[[str], Measured] | None = None

    @property
    def workplace(self) -> Workplace:
        return Workplace(home=self.home, measured=self.measured)

    @property
    def executor(self) -> RolloutExecutor:
        return RolloutExecutor(self.workplace)

    def connect(self, url: str = "", kubeconfig: str = "", collector: str = "") -> None:
        places = [{"cluster": "main", "namespace": namespace} for namespace in self.namespaces]
        content = {
            "clusters": {"main": {"kubeconfig": kubeconfig or self.facts.kubeconfig}},
            "environments": {"staging": {"url": url, "collector": collector, "places": places}},
        }
        (self.home / connections.FILE).write_text(yaml.safe_dump(content))

    def client(self, namespace: str = "") -> Client:
        spots = connections.load(self.home).environments["staging"].spots
        spot = next(spot for spot in spots if namespace in ("", spot.namespace))
        return Client(spot.cluster, spot.namespace)

    def spec(
        self, version: str, objects: list[dict[str, Any]], strategy: Mapping[str, Any] | None = None, **with_: Any
    ) -> StageSpec:
        """A rollout of these manifests, with the image of this version as the component `web`."""
        self.runs += 1
        text = yaml.safe_dump_all(objects)
        tree = self.home / "trees" / hashlib.sha256(text.encode()).hexdigest()[:12]
        (tree / "docker" / "k8s").mkdir(parents=True, exist_ok=True)
        (tree / "docker" / "k8s" / "all.yaml").write_text(text)
        digest, size = Store(self.home).pack(tree)
        images = {"images": {"web": self.images[version]}}
        release = Artifact("publish", "release", "sha256:" + "0" * 64, meta=images)
        given = {"target": "kubernetes", "progressDeadline": 30, **with_}
        if strategy is not None:
            given["strategy"] = strategy
        return StageSpec(
            run=self.runs,
            pipeline="shop",
            stage="rollout",
            kind="rollout",
            owner="dev",
            commit=f"{self.runs:040x}"[::-1],
            environment="staging",
            with_=given,
            artifacts={"source": Artifact("source", "workspace", digest, size), "publish": release},
        )

    def roll(self, spec: StageSpec, key: str = "", control: Any = None) -> tuple[Outcome, list[Yielded]]:
        events = list(self.executor.start(spec, key or f"run-{spec.run}", control or Unattended()))
        assert isinstance(events[-1], Outcome), events
        return events[-1], events

    def rolled(self, spec: StageSpec, key: str = "") -> str:
        """Roll out and expect that it succeeds; returns the release's name."""
        outcome, events = self.roll(spec, key)
        assert outcome.state == "succeeded", (outcome, events)
        return str(outcome.data["release"])

    def status(self) -> dict[str, Any]:
        return rollout.status(self.home, "staging")

    def service_address(self, name: str = "web") -> str:
        """Where this machine reaches a Service: the nodes' network is routed to it."""
        found = self.client().get("Service", name)
        assert found is not None
        return f"{found['spec']['clusterIP']}:80"

    def current_version(self) -> str:
        """Which of the versions runs, by its image."""
        images = {pod["spec"]["containers"][0]["image"] for pod in self.pods()}
        return next(version for version, image in self.images.known.items() if image in images)

    def page(self) -> str:
        """What a customer reads who comes by the Service `web`."""
        connection = http.client.HTTPConnection(self.service_address(), timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def asked(self, address: str, host: str, times: int, release: str = "") -> list[str]:
        """Which releases answer, of so many requests; `release` asks for one by header."""
        headers = {"Host": host} | ({"X-Burger-Release": release} if release else {})
        found = []
        for _ in range(times):
            connection = http.client.HTTPConnection(address, timeout=10)
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            found.append(answer.headers.get("X-Release", f"status {answer.status}"))
            connection.close()
        return found

    def pods(self, namespace: str = "") -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        found = self.client(namespace).list("Pod", labels="burger-stack/template")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def releases_of_pods(self, namespace: str = "") -> Counter[str]:
        return Counter(pod["metadata"]["labels"]["burger-stack/release"] for pod in self.pods(namespace))


@contextmanager
def made_namespaces(facts: Facts, images: Images, *names: str) -> Iterator[None]:
    """Namespaces whose pods may pull, and nothing left of them afterwards."""
    cluster = connections.Cluster("main", Path(facts.kubeconfig))
    client = Client(cluster)
    for name in names:
        client.raw("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    try:
        for name in names:
            inside = Client(cluster, name)
            inside.create(images.pull_secret())
            path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            body = {"imagePullSecrets": [{"name": "pull"}]}
            until(lambda inside=inside: inside.get("ServiceAccount", "default"), "the default account")
            client.raw("PATCH", path, body=body, content_type="application/merge-patch+json")
        yield
    finally:
        for name in names:
            client.raw("DELETE", f"/api/v1/namespaces/{name}")


@contextmanager
def installation(facts: Facts, folder: Path, places: int = 1, url: str = "") -> Iterator[Installation]:
    """An installation whose environment has so many namespaces of its own; they are gone afterwards."""
    (folder / "image").mkdir()
    (folder / "home").mkdir()
    images = Images(facts, folder / "image")
    names = tuple(f"test-rollout-{secrets.token_hex(3)}-{number}" for number in range(places))
    with made_namespaces(facts, images, *names):
        made = Installation(folder / "home", facts, images, names)
        made.connect(url)
        yield made


@dataclass
class Load:
    """Clients that ask all the time, with a new connection for each request (`fresh`) or kept-alive ones. `failures`
    has what was not a good answer."""

    address: str
    host: str = ""
    clients: int = 3
    pause: float = 0.005
    fresh: bool = True
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failures)

    def _ask(self) -> None:
        headers = {"Host": self.host} if self.host else {}
        connection = http.client.HTTPConnection(self.address, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/", headers=headers)
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status == 200 and body.startswith(answer.headers["X-Release"] or "?"):
                    self.answers[answer.headers["X-Release"]] += 1
                else:
                    self.failures.append(f"{time.time():.3f} {answer.status} {body[:80]}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.time():.3f} {error!r}")
                connection.close()
            if self.fresh:
                connection.close()
            time.sleep(self.pause)
        connection.close()
