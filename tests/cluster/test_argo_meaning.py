"""What people do to a run means the same on a real controller as on workers: terminate, skip, supersede; and so do the
lock of an environment, a matrix, and what stages hand on."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from tests.cluster.argo_site import ArgoSite, kubectl
from tests.cluster.facts import Facts
from tests.torture.installation import eventually

pytestmark = pytest.mark.cluster

COUNT = "import time\nfor n in range(600):\n    print('line', n, flush=True)\n    time.sleep(0.25)\n"
LONG = """
name: long
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: count, kind: command, owner: dev, needs: [source], with: {command: [python3, -u, count.py]}}
  - {name: after, kind: noop, owner: dev, needs: [count]}
on_exit:
  - {name: clean, kind: noop, owner: dev}
"""


def states(site: ArgoSite, run: int) -> dict[str, str]:
    return {name: state for name, state, *_ in site.story(run)}


def test_a_terminated_run_ends_at_once_and_not_even_its_exit_stages_run(site: ArgoSite, cluster: Facts):
    run = site.backstage.begin(text=LONG, commit=site.commit({"count.py": COUNT}))
    eventually(lambda: "line 2" in site.log_of(run, "count"), 120, lambda: f"{site.story(run)}\n{site.cluster_says()}")
    site.backstage.terminate(run=run, user="platform-0")
    assert site.finished(run, 60) == "canceled", site.story(run)
    found = states(site, run)
    assert found["count"] == found["after"] == found["clean"] == "canceled", found
    where = ["get", "workflow", site.workflow_of(run), "-n", site.namespace, "-o", "json"]
    workflow = eventually(lambda: _ended(json.loads(kubectl(cluster, *where))), 120, site.cluster_says)
    assert workflow["spec"]["shutdown"] == "Terminate"
    assert not [one for one in workflow["status"]["nodes"].values() if "clean" in one["displayName"]]


def _ended(workflow: dict) -> dict | None:
    return workflow if workflow["status"].get("finishedAt") else None


EACH = """
name: each
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - name: each
    kind: command
    owner: dev
    needs: [source]
    matrix: {part: [bread, patty, sauce]}
    with: {command: [cat, "{{matrix.part}}.txt"]}
  - {name: after, kind: noop, owner: dev, needs: [each]}
"""


def test_of_a_matrix_the_one_that_failed_is_skipped_with_a_reason_and_the_run_goes_on(site: ArgoSite):
    commit = site.commit({"bread.txt": "soft", "sauce.txt": "hot"})
    run = site.backstage.begin(text=EACH, commit=commit)
    assert site.finished(run, 180) == "failed", site.story(run)
    found = states(site, run)
    assert found == {
        "source": "succeeded", "each[bread]": "succeeded", "each[patty]": "failed", "each[sauce]": "succeeded",
        "after": "omitted",
    }  # fmt: skip
    fan = site.nodes(lambda node: node["type"] == "TaskGroup" and len(node.get("children") or ()) == 3)
    assert fan, site.cluster_says()
    assert "soft" in site.log_of(run, "each[bread]")
    site.backstage.skip(stage=site.stage(run, "each[patty]")["id"], user="dev-0", reason="sold out today")
    assert site.finished(run, 120) == "succeeded", site.story(run)
    assert site.stage(run, "each[patty]")["reason"] == "dev-0 skipped it: sold out today"
    assert states(site, run)["after"] == "succeeded"
    assert site.stage(run, "each[bread]")["attempts_made"] == 1
    assert len(site.names_of(run)) == 2


NEWEST = """
name: newest
engine: argo
environments:
  staging: {owner: ops, concurrency: newest}
stages:
  - {name: source, kind: source, owner: dev}
  - {name: use, kind: command, owner: ops, environment: staging, needs: [source],
     with: {command: [python3, -u, use.py]}}
"""
USE = "import time\nprint('holds it', flush=True)\nfor n in range(100):\n    time.sleep(0.25)\n"


def test_an_environment_is_held_by_one_run_and_the_newest_supersedes_those_that_wait(site: ArgoSite):
    commit = site.commit({"use.py": USE})
    first = site.backstage.begin(text=NEWEST, commit=commit, slug="newest")
    eventually(lambda: "holds it" in site.log_of(first, "use"), 120, lambda: site.story(first))
    second = site.backstage.begin(text=NEWEST, commit=commit, slug="newest")
    site.until(second, "use", "waiting", "lock")
    third = site.backstage.begin(text=NEWEST, commit=commit, slug="newest")
    site.until(third, "use", "waiting", "lock")
    assert site.finished(second, 60) == "canceled"
    assert site.value("SELECT reason FROM pipelines_run WHERE id = ?", second) == "superseded by run #3"
    assert not site.log_of(second, "use")
    assert not site.pods(second, "use", "work", "Running")
    assert site.finished(first, 120) == "succeeded"
    assert site.finished(third, 120) == "succeeded", site.story(third)
    began = "SELECT started_at FROM pipelines_stage WHERE run_id = ? AND name = 'use'"
    ended = "SELECT ended_at FROM pipelines_stage WHERE run_id = ? AND name = 'use'"
    assert site.value(began, third) >= site.value(ended, first)


LARGE = """
name: large
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: digest, kind: command, owner: dev, needs: [source], with: {command: [sha256sum, large.txt]}}
"""


def test_what_is_larger_than_a_request_may_be_is_handed_from_pod_to_pod(site: ArgoSite):
    text = random.Random(7).randbytes(3 * 1024 * 1024).hex()
    run = site.backstage.begin(text=LARGE, commit=site.commit({"large.txt": text}))
    assert site.finished(run, 180) == "succeeded", site.story(run)
    assert hashlib.sha256(text.encode()).hexdigest() in site.log_of(run, "digest")


WISHES = """
name: wishes
engine: argo
parameters:
  wish: {default: DEFAULT}
stages:
  - {name: granted, kind: noop, owner: dev, when: "parameters.wish != 'no'"}
  - {name: refused, kind: noop, owner: ops, when: "parameters.wish == 'yes'"}
on_exit:
  - {name: clean, kind: noop, owner: dev}
"""


def test_a_parameter_says_what_it_says_whatever_argo_would_make_of_it(site: ArgoSite):
    """Argo puts the value into its condition before it reads that: this one would turn both around."""
    for wish in ("a' == 'b' && 'c", "{{workflow.uid}} {{=1+1}} {{nothing}} \\ \" it's"):
        run = site.backstage.begin(text=WISHES.replace("DEFAULT", json.dumps(wish)))
        assert site.finished(run, 120) == "succeeded"
        assert {name: state for name, state, *_ in site.story(run)} == {
            "granted": "succeeded", "refused": "skipped", "clean": "succeeded",
        }  # fmt: skip
        assert len(site.names_of(run)) == 1
