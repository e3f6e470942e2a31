"""Workflows for the tests, a namespace where they may run, and the portal's side of them in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from pipelines.engines.argo.follower import Follower
from pipelines.executors.connections import load
from tests.cluster.facts import Facts

KIND = "argoproj.io/v1alpha1/Workflow"
GROUP = ("argoproj.io", "v1alpha1")
PATIENCE = 120.0  # seconds; other work goes on beside these tests

# What the executor in each pod of a Workflow has to be allowed.
RULES = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]


def let_run(
    api: client.ApiClient, namespace: str, account: str = "default", rules: Sequence[dict[str, Any]] = ()
) -> None:
    """Allow an account to run Workflows, and what else the rules say."""
    rbac = client.RbacAuthorizationV1Api(api)
    name = f"executor-{account}"
    rbac.create_namespaced_role(namespace, {"metadata": {"name": name}, "rules": [*RULES, *rules]})
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    body = {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
    rbac.create_namespaced_role_binding(namespace, body)


def leaf(image: str, name: str = "leaf", script: str = "echo done", **more: Any) -> dict[str, Any]:
    container = {"image": image, "command": ["sh", "-c", script], "resources": {"requests": {"cpu": "5m"}}}
    return {"name": name, "container": container, **more}


def workflow(name: str, templates: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    metadata = {"generateName": f"{name}-"}
    body = {"entrypoint": "main", "templates": templates, **spec}
    return {"apiVersion": "/".join(GROUP), "kind": "Workflow", "metadata": metadata, "spec": body}


def text(*documents: dict[str, Any]) -> bytes:
    return yaml.safe_dump_all(documents, sort_keys=False).encode()


def connections(home: Path, facts: Facts, namespace: str, **place: Any) -> None:
    """connections.yaml with one place, `ci`."""
    where = {"cluster": "main", "namespace": namespace, "teams": ["dev", "ops", "platform"], **place}
    content = {"clusters": {"main": {"kubeconfig": facts.kubeconfig}}, "workflows": {"ci": where}}
    (home / "connections.yaml").write_text(yaml.safe_dump(content))


@contextmanager
def watching(home: Path, patience: float = PATIENCE) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """What the sweeper does beside its rounds, done here step by step: call it with what to wait for, and it goes on
    until that is true."""
    (place,) = load(home).workflows.values()
    steps = [Follower(place, watch).steps() for watch in (None, *place.watch)]

    def until_true(what: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + patience
        while not (found := what()):
            assert time.monotonic() < deadline, f"nothing within {patience:g} s"
            for one in steps:
                next(one)
        return found

    try:
        yield until_true
    finally:
        for one in steps:
            one.close()


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"nothing within {seconds:g} s"
        time.sleep(0.1)
    return found
