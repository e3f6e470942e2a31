"""Pipelines with `engine: argo` on a real workflow controller: the same gates, approvals and history as anywhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipelines.engines.argo.check import check
from pipelines.executors.connections import load
from tests.cluster.argo_site import MANIFESTS, ArgoSite, kubectl
from tests.cluster.facts import Facts
from tests.torture.installation import eventually

pytestmark = pytest.mark.cluster

GATED = """
name: gated
engine: argo
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: [ops], reason_required: true}}
"""


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


def test_resumed_by_somebody_else_it_runs_nothing_until_it_is_approved(site: ArgoSite, cluster: Facts):
    run = site.backstage.begin(text=GATED)
    site.until(run, "ship", "waiting", "approval")
    name = site.workflow_of(run)
    (door,) = eventually(
        lambda: site.nodes(lambda node: node["type"] == "Suspend" and node["phase"] == "Running"), 60, site.cluster_says
    )
    patch = {"status": {"nodes": {door["id"]: {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z"}}}}
    arguments = ["patch", "workflow", name, "-n", site.namespace, "--type=merge", "-p", json.dumps(patch)]
    kubectl(cluster, *arguments)
    (told,) = eventually(lambda: site.told(run, "notice"), 90, site.logs)
    assert told["what"] == "breach"
    eventually(lambda: site.pods(run, "ship", "work", "Running"), 120, site.cluster_says)
    assert site.stage(run, "ship")["state"] == "waiting"
    assert site.stage(run, "ship")["attempts_made"] == 0
    site.backstage.approve(**site.backstage.question(run=run, name="ship"), user="ops-0", reason="after a look")
    assert site.finished(run, 120) == "succeeded"


TRIES = """
name: tries
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: touch, kind: command, owner: dev, needs: [source], with: {command: [python3, touch.py]}}
"""
TOUCH = """
import json, os, ssl, sys, time, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
token = open(f"{folder}/token").read()
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
server = "https://" + SERVER
def ask(method, path):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"metadata": {"name": "x"}}).encode() if method == "POST" else None
    request = urllib.request.Request(server + path, method=method, headers=headers, data=body)
    try:
        return urllib.request.urlopen(request, context=context, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
for method, path in ASKED:
    print(method, path, ask(method, path), flush=True)
"""


def test_a_stage_cannot_touch_what_another_team_owns(site: ArgoSite):
    """Ops gives its own account rights in its namespace; a stage of Dev tries to use them."""
    there = f"/api/v1/namespaces/{site.namespace}"
    workflows = f"/apis/argoproj.io/v1alpha1/namespaces/{site.namespace}/workflows"
    asked = [
        ("GET", f"{there}/secrets"), ("POST", f"{there}/configmaps"), ("GET", workflows), ("POST", f"{there}/pods"),
        ("GET", "/api/v1/namespaces/kube-system/secrets"),
    ]  # fmt: skip
    server = site.server().removeprefix("https://")
    script = TOUCH.replace("ASKED", repr(asked)).replace("SERVER", repr(server))
    commit = site.commit({"touch.py": script})
    run = site.backstage.begin(text=TRIES, commit=commit)
    assert site.finished(run, 180) == "succeeded"
    said = site.log_of(run, "touch").splitlines()
    assert [line.rpartition(" ")[2] for line in said if line.startswith(("GET", "POST"))] == ["403"] * len(asked)
    assert site.accounts() >= {"burger-dev"}


SLOW = """
name: slow
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: count, kind: command, owner: dev, needs: [source], with: {command: [python3, -u, count.py]}}
"""
COUNT = "import time\nfor n in range(120):\n    print('line', n, flush=True)\n    time.sleep(0.25)\n"


def test_a_portal_that_is_away_loses_nothing(site: ArgoSite):
    commit = site.commit({"count.py": COUNT})
    run = site.backstage.begin(text=SLOW, commit=commit)
    eventually(lambda: "line 5" in site.log_of(run, "count"), 120, lambda: f"{site.story(run)}\n{site.cluster_says()}")
    site.stop()
    name = site.workflow_of(run)
    try:
        # The command ends while nobody can be told.
        eventually(lambda: site.waited_for_the_portal(name), 120, site.cluster_says)
    finally:
        site.start_again()
    assert site.finished(run, 120) == "succeeded"
    assert [line for line in site.log_of(run, "count").splitlines() if line.startswith("line")] == [
        f"line {number}" for number in range(120)
    ]
    assert site.stage(run, "count")["attempts_made"] == 1


STOPPED = """
name: stopped
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: count, kind: command, owner: dev, needs: [source], with: {command: [python3, -u, count.py]}}
  - {name: after, kind: noop, owner: dev, needs: [count]}
on_exit:
  - {name: clean, kind: noop, owner: dev}
"""


def test_a_canceled_run_stops_and_its_exit_stages_run(site: ArgoSite):
    commit = site.commit({"count.py": COUNT})
    run = site.backstage.begin(text=STOPPED, commit=commit)
    site.until(run, "count", "running")
    site.backstage.cancel(run=run, user="dev-0")
    assert site.finished(run, 180) == "canceled", site.story(run)
    states = {name: state for name, state, *_ in site.story(run)}
    assert states == {"source": "succeeded", "count": "canceled", "after": "canceled", "clean": "succeeded"}


FAILS = """
name: fails
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: flaky, kind: command, owner: dev, needs: [source], with: {command: [cat, there]}}
  - {name: after, kind: noop, owner: dev, needs: [flaky]}
"""


def test_a_failed_stage_retried_by_a_person_goes_on_in_the_same_run(site: ArgoSite):
    commit = site.commit({"count.py": COUNT})
    run = site.backstage.begin(text=FAILS, commit=commit)
    assert site.finished(run, 180) == "failed"
    site.backstage.retry(stage=site.stage(run, "flaky")["id"], user="dev-0")
    eventually(lambda: len(site.names_of(run)) == 2, 60, lambda: f"{site.story(run)} {site.logs()}")
    assert site.finished(run, 180) == "failed"
    assert site.stage(run, "flaky")["attempts_made"] == 2
    assert site.stage(run, "after")["state"] == "omitted"


def test_a_deleted_workflow_is_told_and_what_is_left_goes_on(site: ArgoSite, cluster: Facts):
    run = site.backstage.begin(text=GATED)
    site.until(run, "ship", "waiting", "approval")
    kubectl(cluster, "delete", "workflow", site.workflow_of(run), "-n", site.namespace)
    eventually(lambda: site.told(run, "notice"), 60, site.logs)
    site.backstage.approve(**site.backstage.question(run=run, name="ship"), user="ops-0", reason="still right")
    assert site.finished(run, 180) == "succeeded"
    assert site.stage(run, "build")["attempts_made"] == 1


def test_the_engines_page_says_what_is_missing(site: ArgoSite):
    argo = load(site.home).argo
    assert argo is not None
    good = check(argo, ["dev", "ops", "platform"])
    assert good.problem == "", good
    assert good.facts["namespace"] == site.namespace
    bad = check(argo, ["dev", "kitchen"])
    assert "no ServiceAccount burger-kitchen" in bad.problem
    assert bad.remedy == "kubectl apply -k docker/runner/k8s"
    elsewhere = check(replace(argo, namespace="kube-system"), [])
    assert "may not create" in elsewhere.problem


def test_the_engines_page_says_which_version_the_controller_is(site: ArgoSite, cluster: Facts):
    argo = load(site.home).argo
    assert argo is not None
    unseen = check(argo, ["dev"])
    assert "kubectl apply -f docker/runner/k8s/controller.yaml would tell its version" in unseen.facts["controller"]
    # The test's controller is no Deployment; this one is only looked at.
    here = replace(argo, controller=site.namespace)
    rights = (MANIFESTS / "controller.yaml").read_text().replace("namespace: argo", f"namespace: {site.namespace}")
    rights = rights.replace("namespace: burger}", f"namespace: {site.namespace}}}")
    rights = rights.replace("name: burger-engine\n", "name: burger-look\n")
    kubectl(cluster, "apply", "-f", "-", given=rights)
    assert f"there is no Deployment workflow-controller in {site.namespace}" in check(here, ["dev"]).facts["controller"]
    image = "quay.io/argoproj/workflow-controller:v3.4.8"
    make = ["create", "deployment", "workflow-controller", f"--image={image}", "--replicas=0", "-n", site.namespace]
    kubectl(cluster, *make)
    found = check(here, ["dev"])
    assert found.facts["controller"].startswith("v3.4.8; ")
    assert "stages need Argo 3.7 or later" in found.problem
    assert "no pod of" in found.problem


LOST = """
name: lost
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: count, kind: command, owner: dev, needs: [source],
     with: {command: [python3, -u, count.py], repeatable: REPEATABLE}}
"""


@pytest.mark.parametrize(("repeatable", "state"), [("true", "succeeded"), ("false", "unknown")])
def test_a_pod_that_is_killed_is_never_blindly_done_twice(site: ArgoSite, cluster: Facts, repeatable: str, state: str):
    commit = site.commit({"count.py": COUNT})
    run = site.backstage.begin(text=LOST.replace("REPEATABLE", repeatable), commit=commit)
    eventually(lambda: "line 3" in site.log_of(run, "count"), 120, lambda: f"{site.story(run)}\n{site.cluster_says()}")
    (pod,) = site.pods(run, "count", "work", "Running")
    name = pod["metadata"]["name"]
    kubectl(cluster, "delete", "pod", name, "-n", site.namespace, "--grace-period=0", "--force")
    site.until(run, "count", state, seconds=150)
    assert site.stage(run, "count")["attempts_made"] == 1


def test_a_cluster_that_is_away_is_waited_for(site: ArgoSite):
    kubeconfig = site.home / "engine.kubeconfig"
    text = kubeconfig.read_text()
    connections = site.home / "connections.yaml"
    known = connections.read_text()
    # Another file, for a connection that is there reads its own only once.
    (site.home / "away.kubeconfig").write_text(text.replace(":6443", ":1"))
    connections.write_text(known.replace("engine.kubeconfig", "away.kubeconfig"))
    try:
        run = site.backstage.begin(text=GATED)
        waits = site.until(run, "build", "waiting", "engine")
        assert "does not answer" in waits["reason"]
    finally:
        connections.write_text(known)
    site.until(run, "ship", "waiting", "approval")
    site.backstage.approve(**site.backstage.question(run=run, name="ship"), user="ops-0", reason="it is back")
    assert site.finished(run, 120) == "succeeded"
