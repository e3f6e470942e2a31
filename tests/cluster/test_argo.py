"""Pipelines with `engine: argo` on a real workflow controller: the same gates, approvals and history as anywhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.cluster.argo_site import ArgoSite, runner_image
from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts

pytestmark = pytest.mark.cluster

GATED = """
name: gated
engine: argo
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: [ops], reason_required: true}}
"""


@pytest.fixture(scope="module")
def namespace(kubernetes_client: client.ApiClient, cluster: Facts) -> Iterator[str]:
    core, name = client.CoreV1Api(kubernetes_client), f"test-argo-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": name, "labels": {"burger-stack/test": "true"}}})
    core.create_namespaced_secret(name, pull_secret(cluster))
    yield name
    core.delete_namespace(name, grace_period_seconds=0)


@pytest.fixture(scope="module")
def site(cluster: Facts, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgoSite]:
    made = ArgoSite(tmp_path_factory.mktemp("argo"), cluster, namespace, runner_image(cluster))
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_gate_approved_in_the_portal_resumes_its_node(site: ArgoSite):
    run = site.backstage.begin(text=GATED)
    waits = site.until(run, "ship", "waiting", "approval")
    assert [one["status"]["phase"] for one in site.workflows()] == ["Running"]
    question = site.backstage.question(run=run, name="ship")
    assert question["digest"] == waits["plan_digest"]
    site.backstage.approve(**question, user="ops-0", reason="looks right")
    assert site.finished(run, 120) == "succeeded"
    (door,) = site.nodes(lambda node: node["type"] == "Suspend")
    said = {one["name"]: one.get("value") for one in door["outputs"]["parameters"]}
    assert (said["by"], said["reason"], said["digest"]) == ("ops-0 for ops", "looks right", question["digest"])
