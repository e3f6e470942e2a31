"""`publish` of slugs: a release is the digest of what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipelines.executors.base import Artifact, PlanError, Unattended, Workplace
from pipelines.executors.publish import PublishExecutor

COMMIT = "c" * 40


@pytest.fixture
def publish(workplace: Workplace) -> PublishExecutor:
    return PublishExecutor(workplace)


@pytest.fixture
def stage(spec: Callable[..., Any], publish: PublishExecutor) -> Any:
    artifacts = {}
    for name in ("backend", "frontend", "extra"):
        digest, size = publish.store.add_bytes(name.encode())
        artifacts[name] = Artifact(name, "slug", digest, size, {"component": name, "commit": COMMIT})
    digest, size = publish.store.add_bytes(b"tree")
    artifacts["source"] = Artifact("source", "workspace", digest, size)
    return spec(kind="publish", stage="release", artifacts=artifacts, with_={"artifacts": ["frontend", "backend"]})


def test_makes_a_release_of_the_named_slugs(publish: PublishExecutor, stage: Any, carry_out: Any) -> None:
    outcome, (release,), _ = carry_out(publish, stage)
    assert outcome.state == "succeeded"
    assert (release.name, release.kind) == ("release", "release")
    digests = {name: stage.artifacts[name].digest for name in ("backend", "frontend")}
    assert release.meta == {"artifacts": digests, "commit": COMMIT, "number": 7}
    content = publish.store.path(release.digest).read_bytes()
    assert json.loads(content) == {
        "format": 1,
        "pipeline": "shop",
        "commit": COMMIT,
        "artifacts": {
            name: {"component": name, "digest": digests[name], "kind": "slug", "size": len(name)} for name in digests
        },
    }
    assert content == json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()
    assert publish.store.verify(release.digest) == release.size


def test_the_same_slugs_are_the_same_release(publish: PublishExecutor, stage: Any, carry_out: Any) -> None:
    _, (first,), _ = carry_out(publish, stage, "k-1")
    turned = replace(stage, run=8, with_={"artifacts": ["backend", "frontend"]})
    _, (second,), _ = carry_out(publish, turned, "k-2")
    assert (first.digest, first.meta["number"], second.meta["number"]) == (second.digest, 7, 8)


def test_a_slug_that_changed_on_the_disk_is_not_published(publish: PublishExecutor, stage: Any, carry_out: Any) -> None:
    path = publish.store.path(stage.artifacts["backend"].digest)
    path.chmod(0o644)
    path.write_bytes(b"tampered")
    outcome, made, _ = carry_out(publish, stage)
    assert (outcome.state, made) == ("error", [])
    assert "the disk or a person changed it" in outcome.reason


def test_twice_with_one_key_is_once(publish: PublishExecutor, stage: Any, carry_out: Any) -> None:
    assert publish.probe(stage, "k-1").state == "never_started"
    first = carry_out(publish, stage)[:2]
    assert publish.probe(stage, "k-1").state == "done"
    assert carry_out(publish, stage)[:2] == first


def test_canceled_is_not_published(publish: PublishExecutor, stage: Any, carry_out: Any) -> None:
    publish.cancel(stage, "k-1")
    assert carry_out(publish, stage, "k-1")[0].state == "canceled"
    assert carry_out(publish, stage, "k-2", Unattended(stop=lambda: True))[0].state == "canceled"


def test_the_plan_lists_the_digests(publish: PublishExecutor, stage: Any) -> None:
    plan = publish.plan(stage)
    assert list(plan.artifacts) == ["backend", "frontend"]
    assert [(change.title, change.after) for change in plan.changes] == list(plan.artifacts.items())
    assert publish.plan(replace(stage, with_={"artifacts": ["backend", "frontend"]})).digest == plan.digest
    assert publish.plan(replace(stage, with_={"artifacts": ["backend"]})).digest != plan.digest


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "`artifacts` has to name the stages"),
        (["backend", "backend"], "each once"),
        ("backend", "`artifacts` has to name the stages"),
        (["database"], "no stage that it needs made 'database'"),
        (["source"], "source is a workspace; only slugs"),
    ],
)
def test_bad_settings_are_plan_errors(publish: PublishExecutor, stage: Any, names: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        publish.plan(replace(stage, with_={"artifacts": names}))


def test_a_slug_of_another_commit_is_refused(publish: PublishExecutor, stage: Any) -> None:
    old = replace(stage.artifacts["backend"], meta={"commit": "d" * 40})
    with pytest.raises(PlanError, match="backend was built from commit d"):
        publish.plan(replace(stage, artifacts={**stage.artifacts, "backend": old}))
