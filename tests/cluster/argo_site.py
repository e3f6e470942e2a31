"""An installation whose pipelines run on Argo: the portal on this machine, the stages in pods of a real controller."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.api.site import git
from tests.cluster import pki
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT, ClusterError
from tests.cluster.processes import run
from tests.torture.installation import SUPERVISE, Backstage, Installation, eventually

MANIFESTS = CHECKOUT / "docker" / "runner" / "k8s"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ACCOUNT = "burger-engine"
PULL_SECRET = "registry"
CA = "burger-ca"
EVERY_KIND = """
import pathlib
import pipelines.engines.argo.runner.__main__
from pipelines.executors import base, registry
for kind in registry.EXECUTORS:
    registry.make(kind, base.Workplace(pathlib.Path("/tmp")))
"""


def kubectl(facts: Facts, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
    return run([facts.kubectl, "--kubeconfig", facts.kubeconfig, *arguments], given=given, timeout=timeout)


def runner_image(facts: Facts) -> str:
    """The image of docker/runner, built and pushed; by its digest."""
    tag = f"{facts.registry.address}/test/burger-runner:{os.getpid()}"
    command = docker(facts)
    build = ["build", "--quiet", "--network", "host", "--build-arg", f"BASE={facts.base_image['python']}", "--tag", tag]
    secret = ["--secret", f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
    file = ["--file", str(CHECKOUT / "docker" / "runner" / "Dockerfile"), str(CHECKOUT)]
    run([*command, *build, *secret, *file], timeout=1800, env={"DOCKER_BUILDKIT": "1"})
    # Whatever kind of stage it is given, the image has what that imports.
    run([*command, "run", "--rm", "--entrypoint", "python3", tag, "-c", EVERY_KIND], timeout=120)
    run([*command, "push", "--quiet", tag], timeout=600)
    return run([*command, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]).strip()


# The stages of a team that tests want what its tests want.
TEAM_IMAGE = """\
ARG RUNNER
FROM ${RUNNER}
USER 0
COPY requirements.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca,target=/run/ca.pem,required=false \\
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi; \\
    /opt/burger/bin/pip install --disable-pip-version-check --require-hashes -r /tmp/requirements.lock
USER 10001
"""


def team_image(facts: Facts, tree: Path) -> str:
    """The runner's image with what the tests of this project need; by its digest."""
    tag, command = f"{facts.registry.address}/test/burger-team-runner:{os.getpid()}", docker(facts)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(TEAM_IMAGE)
        shutil.copy(tree / "requirements.lock", folder)
        build = ["build", "--quiet", "--network", "host", "--build-arg", f"RUNNER={runner_image(facts)}", "--tag", tag]
        secret = ["--secret", f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
        run([*command, *build, *secret, folder], timeout=1800, env={"DOCKER_BUILDKIT": "1"})
    run([*command, "push", "--quiet", tag], timeout=900)
    return run([*command, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]).strip()


def docker(facts: Facts) -> list[str]:
    """The command line of the engine's client, signed in at the registry."""
    return [facts.docker, "--config", str(_login(facts)), "--host", facts.docker_host]


def _login(facts: Facts) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="burger-docker-"))
    registry = facts.registry
    auth = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    return folder


def shipped(facts: Facts, namespace: str) -> list[dict[str, Any]]:
    """The accounts and rights that the project ships, for another namespace."""
    text = kubectl(facts, "kustomize", str(MANIFESTS)).replace("namespace: burger\n", f"namespace: {namespace}\n")
    items = [item for item in yaml.safe_load_all(text) if item["kind"] != "Namespace"]
    for item in items:
        if item["kind"].startswith("Cluster"):
            item["metadata"]["name"] += f"-{namespace}"
        if item["kind"] == "ClusterRoleBinding":
            item["roleRef"]["name"] += f"-{namespace}"
    return items


def kubeconfig_of(facts: Facts, namespace: str) -> dict[str, Any]:
    """As the administrator's, with a token of the portal's shipped account."""
    token = kubectl(facts, "create", "token", ACCOUNT, "-n", namespace, "--duration=24h").strip()
    return facts.kubeconfig_of(ACCOUNT, token)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(facts: Facts, folder: Path, tls: Path, namespace: str) -> Iterator[str]:
    """Serve what is in a folder by https, as pods of the namespace fetch it; gives its address. `tls` is a folder for
    keys."""
    assert facts.ca
    assert facts.host
    tls.mkdir(exist_ok=True)
    for name in ("ca.crt", "ca.key"):
        shutil.copy(Path(facts.ca.certificate).parent / name, tls)
    pair = pki.issue(tls, "git", "git", hosts=[facts.host])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer((facts.host, 0), partial(Quiet, directory=str(folder)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = Path(facts.ca.certificate).read_text()
    metadata = {"name": CA, "namespace": namespace}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": text}}
    kubectl(facts, "apply", "-f", "-", given=json.dumps(item))
    try:
        yield f"https://{facts.host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class ArgoSite(Installation):
    """`namespace` is where its Workflows run."""

    def __init__(self, home: Path, facts: Facts, namespace: str, image: str) -> None:
        super().__init__(home)
        assert facts.host, "the tests of Argo need an address of this machine that pods reach"
        self.facts, self.namespace = facts, namespace
        self._serving: AbstractContextManager[str] | None = None
        self.backstage.close()
        self.url = f"http://{facts.host}:{self.port}"
        self.env |= {
            "BURGER_PUBLIC_URL": self.url,
            "BURGER_LISTEN": facts.host,
            "BURGER_ALLOWED_HOSTS": f"{facts.host},127.0.0.1",
            "BURGER_WORKERS": "1",
            "BURGER_DATABASE_TIMEOUT": "10",
            "BURGER_LOG_LEVEL": "INFO",
        }
        self.backstage = Backstage({**self.env, "BURGER_DATABASE_TIMEOUT": "20"})
        self._prepare(image)

    def start(self) -> None:
        self._serving = served(self.facts, self.home.parent, self.home.parent / "tls", self.namespace)
        address = self._serving.__enter__()
        self.tokens = self.backstage.set_up(repository=f"{address}/{self.repository.name}")
        self.start_again()

    def commit(self, files: dict[str, str]) -> str:
        made = super().commit(files)
        git(self.repository, "update-server-info")
        return made

    def stop(self) -> None:
        """The portal goes away, as a machine that is switched off."""
        assert self.supervisor
        self.supervisor.kill()
        self.supervisor.wait()

    def start_again(self) -> None:
        with (self.home / "supervisor.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE],
                cwd=CHECKOUT,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.well, 90, self.logs)

    def _prepare(self, image: str) -> None:
        items = shipped(self.facts, self.namespace)
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        kubectl(self.facts, "apply", "-f", "-", given=text)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "engine.kubeconfig").touch(mode=0o600)
        (self.home / "engine.kubeconfig").write_text(yaml.safe_dump(kubeconfig_of(self.facts, self.namespace)))
        connections = {
            "clusters": {"main": {"kubeconfig": "engine.kubeconfig"}},
            "argo": {
                "cluster": "main",
                "namespace": self.namespace,
                "portal": self.url,
                "image": image,
                "pull_secrets": [PULL_SECRET],
                "ca": CA,
            },
        }
        (self.home / "connections.yaml").write_text(yaml.safe_dump(connections))

    def close(self) -> None:
        super().close()
        if self._serving is not None:
            self._serving.__exit__(None, None, None)
        for kind in ("clusterrolebinding", "clusterrole"):
            name = f"burger-engine-tokens-{self.namespace}"
            kubectl(self.facts, "delete", kind, name, "--ignore-not-found")

    # --- looking ----------------------------------------------------------------------------------------------------

    def workflows(self) -> list[dict[str, Any]]:
        found = kubectl(self.facts, "get", "workflows.argoproj.io", "-n", self.namespace, "-o", "json")
        return list(json.loads(found)["items"])

    def stage(self, run: int, name: str) -> dict[str, Any]:
        columns = ("id", "state", "reason_code", "reason", "plan_digest", "attempts_made")
        query = f"SELECT {', '.join(columns)} FROM pipelines_stage WHERE run_id = ? AND name = ?"  # noqa: S608
        return dict(zip(columns, self.rows(query, run, name)[0], strict=True))

    def until(self, run: int, name: str, state: str, code: str = "", seconds: float = 120) -> dict[str, Any]:
        """Wait until a stage is in a state, for a reason if one is named."""

        def there() -> bool:
            found = self.stage(run, name)
            return found["state"] == state and found["reason_code"] == (code or found["reason_code"])

        eventually(there, seconds, lambda: f"{self.story(run)}\n{self.cluster_says()}\n{self.logs()}")
        return self.stage(run, name)

    def cluster_says(self) -> str:
        return kubectl(self.facts, "get", "workflows.argoproj.io,pods", "-n", self.namespace, "-o", "wide")

    def nodes(self, test: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The nodes of all Workflows that pass the test."""
        found = [(one.get("status") or {}).get("nodes") or {} for one in self.workflows()]
        return [node for nodes in found for node in nodes.values() if test(node)]

    def names_of(self, run: int) -> list[str]:
        """The Workflows that were submitted for a run, in order."""
        query = "SELECT name FROM pipelines_workflow WHERE run_id = ? AND uid != '' ORDER BY serial"
        return [name for (name,) in self.rows(query, run)]

    def workflow_of(self, run: int) -> str:
        return self.names_of(run)[-1]

    def last_workflow(self) -> str:
        return str(self.value("SELECT name FROM pipelines_workflow ORDER BY id DESC LIMIT 1"))

    def _pods(self) -> list[dict[str, Any]]:
        return list(json.loads(kubectl(self.facts, "get", "pods", "-n", self.namespace, "-o", "json"))["items"])

    def pods(self, run: int, stage: str, phase: str, state: str) -> list[dict[str, Any]]:
        """The pods of a stage that are there to plan or to work, in a phase of Kubernetes'."""
        names = set(self.names_of(run))
        return [
            pod
            for pod in self._pods()
            if pod["metadata"]["labels"].get("workflows.argoproj.io/workflow") in names
            and pod["metadata"]["annotations"].get("burger-stack/stage") == stage
            and pod["metadata"]["labels"].get("burger-stack/phase") == phase
            and pod["status"]["phase"] == state
        ]

    def accounts(self) -> set[str]:
        """Under which accounts the nodes of all Workflows ran."""
        templates = json.loads(
            kubectl(self.facts, "get", "workflowtemplates.argoproj.io", "-n", self.namespace, "-o", "json")
        )["items"]
        return {
            one["serviceAccountName"] for item in templates for one in item["spec"]["templates"] if "container" in one
        }

    def server(self) -> str:
        """The API server's address, as pods reach it too."""
        return str(kubeconfig_of(self.facts, self.namespace)["clusters"][0]["cluster"]["server"])

    def waited_for_the_portal(self, workflow: str) -> bool:
        """Whether the log of a pod of this Workflow says that its command's end could not be told."""
        for pod in self._pods():
            if pod["metadata"]["labels"].get("workflows.argoproj.io/workflow") == workflow:
                with suppress(ClusterError):  # it has ended and is gone
                    said = kubectl(self.facts, "logs", pod["metadata"]["name"], "-n", self.namespace, "-c", "main")
                    if said.count("The portal takes no reports") >= 8:
                        return True
        return False

    def told(self, run: int, kind: str) -> list[dict[str, Any]]:
        """The data of a run's events of a kind."""
        rows = self.rows("SELECT data FROM pipelines_event WHERE run_id = ? AND kind = ? ORDER BY seq", run, kind)
        return [json.loads(data) for (data,) in rows]
