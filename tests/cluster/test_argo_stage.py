"""Stages of the kind `argo` on a real controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from pipelines.executors.argo.executor import ArgoExecutor, name_of
from pipelines.executors.base import (
    Artifact,
    Log,
    Outcome,
    PlanError,
    Produced,
    Progress,
    StageSpec,
    Unattended,
    Workplace,
    Yielded,
)
from pipelines.executors.store import Store
from tests.cluster import argo_flows as flows
from tests.cluster.facts import Facts

pytestmark = pytest.mark.cluster


@pytest.fixture
def image(cluster: Facts) -> str:
    return cluster.base_image["debian"]


@pytest.fixture
def custom(kubernetes_client: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(kubernetes_client)


@pytest.fixture
def workplace(cluster: Facts, kubernetes_client: client.ApiClient, namespace: str, tmp_path: Path) -> Workplace:
    flows.let_run(kubernetes_client, namespace)
    flows.connections(tmp_path, cluster, namespace)
    return Workplace(home=tmp_path)


@pytest.fixture
def spec(workplace: Workplace, tmp_path: Path, image: str) -> Callable[..., StageSpec]:
    def make(**with_: Any) -> StageSpec:
        what = {"name": "what", "value": "{{tasks.count.outputs.result}} {{workflow.parameters.who}}"}
        tasks = [
            {"name": "count", "template": "leaf"},
            {"name": "say", "template": "say", "dependencies": ["count"], "arguments": {"parameters": [what]}},
        ]
        say = flows.leaf(image, "say", "echo {{inputs.parameters.what}}")
        say["inputs"] = {"parameters": [{"name": "what"}]}
        templates = [
            {"name": "main", "dag": {"tasks": tasks}},
            flows.leaf(image, script="echo 42"),
            say,
            flows.leaf(image, "no", "echo sorry; exit 3"),
            flows.leaf(image, "long", "echo begun; sleep 300"),
        ]
        arguments = {"parameters": [{"name": "who", "value": "nobody"}]}
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "flow.yaml").write_bytes(flows.text(flows.workflow("demo", templates, arguments=arguments)))
        digest, size = Store(workplace.home).pack(tree)
        return StageSpec(
            run=1, pipeline="demo", stage="argo", kind="argo", owner="dev", commit="0" * 40,
            with_={"place": "ci", "file": "flow.yaml", **with_},
            artifacts={"checkout": Artifact("checkout", "workspace", digest, size)},
        )  # fmt: skip

    return make


def done(workplace: Workplace, spec: StageSpec, key: str = "s1-1-a") -> list[Yielded]:
    return list(ArgoExecutor(workplace).start(spec, key, Unattended()))


def outcome(yielded: list[Yielded]) -> Outcome:
    assert isinstance(yielded[-1], Outcome)
    return yielded[-1]


def log(yielded: list[Yielded]) -> str:
    return "".join(one.text for one in yielded if isinstance(one, Log))


def test_a_whole_workflow_runs_as_one_stage(workplace, spec):
    yielded = done(workplace, spec(arguments={"who": "ann"}))
    assert outcome(yielded).state == "succeeded", outcome(yielded)
    assert "say | 42 ann\n" in log(yielded)
    assert any(isinstance(one, Progress) and (one.done, one.total) == (2, 2) for one in yielded)


def test_a_task_takes_what_the_stage_of_another_gave(workplace, spec):
    count = spec(task="main/count")
    first = done(workplace, count)
    (made,) = [one.artifact for one in first if isinstance(one, Produced)]
    assert made.meta["outputs"]["result"] == "42"
    say = replace(count, with_={**count.with_, "task": "main/say"}, artifacts={**count.artifacts, "count": made})
    second = done(workplace, say, "s2-1-a")
    assert outcome(second).state == "succeeded", outcome(second)
    assert "42 nobody" in log(second)


def test_what_fails_says_why(workplace, spec):
    found = outcome(done(workplace, spec(template="no")))
    assert found.state == "failed"
    assert "exit code 3" in found.reason


def test_started_twice_it_is_one_workflow(workplace, spec, custom, namespace):
    wanted = spec(template="leaf")
    assert outcome(done(workplace, wanted)).state == outcome(done(workplace, wanted)).state == "succeeded"
    assert len(custom.list_namespaced_custom_object(*flows.GROUP, namespace, "workflows")["items"]) == 1


def test_it_is_probed_joined_and_canceled(workplace, spec, custom, namespace):
    executor, wanted, key = ArgoExecutor(workplace), spec(template="long"), "s3-1-a"
    assert executor.probe(wanted, key).state == "never_started"
    events = executor.start(wanted, key, Unattended())
    for one in events:  # and then its worker dies
        if isinstance(one, Log) and "begun" in one.text:
            break
    events.close()
    assert executor.probe(wanted, key).state == "running"
    executor.cancel(wanted, key)
    assert executor.probe(wanted, key).state == "done"
    found = custom.get_namespaced_custom_object(*flows.GROUP, namespace, "workflows", name_of(key))
    assert found["spec"]["shutdown"] == "Stop"


def test_deleted_it_is_not_begun_again(workplace, spec, custom, namespace):
    wanted = spec(template="leaf")
    done(workplace, wanted)
    custom.delete_namespaced_custom_object(*flows.GROUP, namespace, "workflows", name_of("s1-1-a"))
    flows.until(lambda: not custom.list_namespaced_custom_object(*flows.GROUP, namespace, "workflows")["items"])
    found = outcome(done(workplace, wanted))
    assert found.state == "error"
    assert "was deleted" in found.reason


def test_another_account_is_refused(workplace, spec, cluster, namespace):
    flows.connections(workplace.home, cluster, namespace, teams={"ops": ["default"], "dev": ["builder"]})
    executor, wanted = ArgoExecutor(workplace), spec(template="leaf")
    assert "as builder" in executor.plan(wanted).changes[0].after
    with pytest.raises(PlanError, match="platform may run nothing at ci"):
        executor.plan(replace(wanted, owner="platform"))
