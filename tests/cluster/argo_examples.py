"""Argo's own examples on a real controller, side by side: one goes to it as it is, one through the portal."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from pipelines import runs
from pipelines.engines.argo import submitting
from pipelines.engines.argo.reading import Source
from pipelines.models import AdoptedWorkflow, Pipeline, Run
from pipelines.runs.values import asked_values
from pipelines.states import State
from teams.models import User
from tests.cluster import argo_flows as flows
from tests.cluster.argo_site import docker
from tests.cluster.facts import Facts
from tests.cluster.processes import run

OWNERS = Source("owners.yaml", b"default: dev\n")
SUPPLIED = "hello"  # what is said where a suspend template asks for a value
LOOK = 4.0  # seconds between two looks at all that run
ENDED = ("Succeeded", "Failed", "Error")
# What stands in for an image's own entrypoint, which the controller could not look up.
_COMMANDS = {
    "argoproj/argosay": ["argosay"],
    "nginx": ["nginx", "-g", "daemon off;"],
    "influxdb": ["influxd"],
    "alpine": ["true"],
}
# Whose templates others take.
_LENT = {
    "WorkflowTemplate": "workflow-template/templates.yaml",
    "ClusterWorkflowTemplate": "cluster-workflow-template/clustertemplates.yaml",
}
# What the examples' own images have. apk would install what is here already.
_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
RUN apt-get update \\
 && apt-get install -y --no-install-recommends curl influxdb jq nginx-light nodejs \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man \\
 && ln -s true /bin/apk \\
 && ln -sf bash /bin/sh
COPY argosay cowsay kubectl /usr/local/bin/
COPY sitecustomize.py /etc/python3.11/sitecustomize.py
CMD ["nginx", "-g", "daemon off;"]
"""
# Two pods of one name throw their coins alike.
_CHANCE = "import random, socket\nrandom.seed(socket.gethostname())\n"
_COWSAY = '#!/bin/sh\nprintf " ( %s )\\n" "$*"\n'
_ARGOSAY = """\
#!/bin/sh
set -eu
case "${1:-echo}" in
  echo) if [ $# -ge 3 ]; then mkdir -p "$(dirname "$3")"; echo "$2" > "$3"; else echo "${2:-hello argo}"; fi ;;
  cat) shift; cat "$@" ;;
  sleep) sleep "$2" ;;
  exit) exit "${2:-0}" ;;
  *) echo "argosay: $1" >&2; exit 1 ;;
esac
"""


def image_of(facts: Facts, folder: Path) -> str:
    """An image with what the examples' own have, built and pushed."""
    files = {"Dockerfile": _DOCKERFILE, "sitecustomize.py": _CHANCE, "cowsay": _COWSAY, "argosay": _ARGOSAY}
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    shutil.copy(facts.kubectl, folder / "kubectl")
    version = hashlib.sha256("".join(files.values()).encode()).hexdigest()[:12]
    tag = f"{facts.registry.address}/test/argo-examples:{version}"
    command = docker(facts)
    base = f"BASE={facts.base_image['python']}"
    build = ["build", "--quiet", "--network", "host", "--build-arg", base, "--tag", tag, str(folder)]
    run([*command, *build], timeout=1800)
    run([*command, "push", "--quiet", tag], timeout=900)
    return tag


def localized(text: bytes, image: str) -> list[dict[str, Any]]:
    """The documents of an example with all images replaced."""
    documents = [one for one in yaml.safe_load_all(text) if one]
    return [_localized(one, image) for one in documents]


def _localized(value: Any, image: str) -> Any:
    if isinstance(value, list):
        return [_localized(one, image) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _localized(item, image) for key, item in value.items()}
    if isinstance(made.get("manifest"), str):
        made["manifest"] = _in_manifest(made["manifest"], image)
    if isinstance(made.get("image"), str) and "tag" not in made:
        own = next((command for name, command in _COMMANDS.items() if made["image"].startswith(name)), None)
        made |= {"image": image} | ({"command": own} if own and not {"command", "source"} & made.keys() else {})
    return made


def _in_manifest(text: str, image: str) -> str:
    def line(one: str) -> str:
        head, found, _ = one.partition("image: ")
        return f"{head}{found}{image}" if found and not head.strip(" -") else one

    return "\n".join(line(one) for one in text.split("\n"))


# --- what examples say has to be there -------------------------------------------------------------------------------


def furnish(
    api: client.ApiClient, namespace: str, given: Mapping[str, Source], image: str, pull: Mapping[str, Any]
) -> None:
    """What the examples say has to be there, in a namespace."""
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    flows.let_run(api, namespace, rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    core.create_namespaced_config_map(namespace, _only(given["configmaps/simple-parameters-configmap.yaml"]))
    limits = {"metadata": {"name": "my-config"}, "data": {"workflow": "3", "template": "3"}}
    core.create_namespaced_config_map(namespace, limits)
    secret = {"metadata": {"name": "my-secret"}, "stringData": {"mypassword": "S00perS3cretPa55word"}}
    core.create_namespaced_secret(namespace, secret)
    registry = {**pull, "metadata": {"name": "docker-registry-secret"}}
    core.create_namespaced_secret(namespace, registry)
    core.create_namespaced_persistent_volume_claim(namespace, _only(given["testvolume.yaml"]))
    for document in _lent(given, image, "WorkflowTemplate"):
        custom.create_namespaced_custom_object(*flows.GROUP, namespace, "workflowtemplates", document)


def lend_to_all(api: client.ApiClient, given: Mapping[str, Source], image: str) -> Callable[[], None]:
    """Make the examples' templates that are of no namespace; call what is returned to take them away."""
    custom = client.CustomObjectsApi(api)
    documents = _lent(given, image, "ClusterWorkflowTemplate")

    def away() -> None:
        for name in (one["metadata"]["name"] for one in documents):
            try:
                custom.delete_cluster_custom_object(*flows.GROUP, "clusterworkflowtemplates", name)
            except ApiException as error:
                if error.status != 404:
                    raise

    away()
    for document in documents:
        custom.create_cluster_custom_object(*flows.GROUP, "clusterworkflowtemplates", document)
    return away


def _only(source: Source) -> dict[str, Any]:
    (document,) = yaml.safe_load_all(source.text)
    return dict(document)


def _lent(given: Mapping[str, Source], image: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in localized(given[_LENT[kind]].text, image) if one["kind"] == kind]


# --- side by side ----------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    """One example, twice. `seen` are the last manifests of both by their namespaces, since some are deleted soon."""

    name: str
    run: Run
    workflow: str
    places: tuple[str, str]
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: bool = False  # by the cluster itself, which keeps nothing of it
    has_ended: bool = False
    approved: set[tuple[int, str]] = field(default_factory=set)

    def look(self, custom: client.CustomObjectsApi) -> bool:
        """Whether both have ended, and the portal says so."""
        for namespace in () if self.refused else self.places:
            if _phase(self.seen.get(namespace)) in ENDED:
                continue
            try:
                found = custom.get_namespaced_custom_object(*flows.GROUP, namespace, "workflows", self.workflow)
            except ApiException as error:
                if error.status != 404:
                    raise
            else:
                self.seen[namespace] = found
        self.run.refresh_from_db()
        over = self.refused or all(_phase(self.seen.get(one)) in ENDED for one in self.places)
        return over and bool(self.run.ended_at)

    def result(self) -> dict[str, Any]:
        """As the docs keep it."""
        if self.refused:
            return {"phase": "Refused", "nodes": 0, "same": self.run.state == "error"}
        (ours, theirs) = (_phases(self.seen[one]) for one in self.places)
        phase = _phase(self.seen[self.places[1]])
        states = {"Succeeded": "succeeded", "Failed": "failed", "Error": "error"}
        same = ours == theirs and self.run.state == states[phase]
        return {"phase": phase, "nodes": len(theirs), "same": same}

    def differences(self) -> str:
        (ours, theirs) = (_phases(self.seen.get(one) or {}) for one in self.places)
        some = {key: (ours.get(key), theirs.get(key)) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)}
        return f"{self.name}: the run {self.run.state} ({self.run.reason}); by the portal, directly: {some}"


def _phase(workflow: Mapping[str, Any] | None) -> str:
    return str(((workflow or {}).get("status") or {}).get("phase", ""))


def _phases(workflow: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return {key: (node["name"], node.get("phase", "")) for key, node in nodes.items()}


@dataclass
class Bench:
    """Two namespaces with the same in them, the first of which is a place of the portal's."""

    api: client.ApiClient
    places: tuple[str, str]
    home: Path
    pipeline: Pipeline
    starter: User
    approver: User
    image: str

    def compare(self, some: Sequence[Source], at_once: int, patience: float) -> Iterator[Pair]:
        """Run them, each twice, and give each pair once it has ended, or was not within `patience` seconds."""
        custom = client.CustomObjectsApi(self.api)
        waiting, begun = deque(some), dict[str, tuple[Pair, float]]()

        looked = 0.0

        def ended() -> list[Pair]:
            nonlocal looked
            if time.monotonic() - looked < LOOK:
                return []  # what is followed comes first
            looked = time.monotonic()
            while waiting and len(begun) < at_once:
                one = waiting.popleft()
                begun[one.name] = (self._submitted(one, custom), time.monotonic() + patience)
            return [pair for pair, deadline in begun.values() if self._is_over(pair, custom, deadline)]

        with flows.watching(self.home, patience + 60) as until:
            while waiting or begun:
                for pair in until(ended):
                    del begun[pair.name]
                    yield pair

    def _is_over(self, pair: Pair, custom: client.CustomObjectsApi, deadline: float) -> bool:
        if pair.look(custom):
            pair.has_ended = True
        else:
            self._go_on(pair, custom)
        return pair.has_ended or time.monotonic() > deadline

    def _submitted(self, source: Source, custom: client.CustomObjectsApi) -> Pair:
        documents = localized(source.text, self.image)
        (title,) = (_title(one) for one in documents if one["kind"] == "Workflow")
        text = yaml.safe_dump_all(documents, sort_keys=False).encode()
        order = submitting.Order([Source(source.name, text)], OWNERS, "ci", title)
        made = submitting.submit(pipeline=self.pipeline, user=self.starter, order=order)
        name = AdoptedWorkflow.objects.get(run=made).name
        (manifest,) = (one for one in documents if one["kind"] == "Workflow")
        metadata = {key: value for key, value in manifest["metadata"].items() if key in ("labels", "annotations")}
        body = {**manifest, "metadata": {**metadata, "name": name}}
        pair = Pair(source.name, made, name, self.places)
        try:
            custom.create_namespaced_custom_object(*flows.GROUP, self.places[1], "workflows", body)
        except ApiException as error:
            if error.status != 422:
                raise
            pair.refused = True
        return pair

    def _go_on(self, pair: Pair, custom: client.CustomObjectsApi) -> None:
        """Approve what waits for a person, here as there."""
        for stage in pair.run.stages.filter(state=State.WAITING, reason_code="approval"):
            if (asked := (stage.pk, stage.plan_digest)) not in pair.approved:
                pair.approved.add(asked)
                values = {one.name: one.default or SUPPLIED for one in asked_values(stage)}
                runs.approve(stage=stage.pk, user=self.approver, digest=stage.plan_digest, values=values)
        nodes = (pair.seen.get(self.places[1], {}).get("status") or {}).get("nodes") or {}
        templates = {one["name"]: one for one in _templates(pair.seen.get(self.places[1]))}
        for key, node in nodes.items():
            suspended = node["type"] == "Suspend" and node["phase"] == "Running"
            if suspended and not (templates.get(node.get("templateName"), {}).get("suspend") or {}).get("duration"):
                ended = {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z", **_supplied(node)}
                done = {"status": {"nodes": {key: ended}}}
                custom.patch_namespaced_custom_object(
                    *flows.GROUP, self.places[1], "workflows", pair.workflow, done,
                    _content_type="application/merge-patch+json",
                )  # fmt: skip


def _supplied(node: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a node that asks for them, as `argo node set` would make them."""
    outputs = (node.get("outputs") or {}).get("parameters") or ()
    given = {one["name"]: one.get("value") for one in (node.get("inputs") or {}).get("parameters") or ()}
    made = [{"name": one["name"], "value": given.get(one["name"]) or SUPPLIED} for one in outputs]
    return {"outputs": {"parameters": made}} if made else {}


def _title(document: Mapping[str, Any]) -> str:
    metadata = document["metadata"]
    return f"{document['kind']} {metadata.get('name') or metadata['generateName']}"


def _templates(workflow: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    spec = (workflow or {}).get("spec") or {}
    return [*(spec.get("templates") or ())]
