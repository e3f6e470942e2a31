"""Rollouts of what an autoscaler scales, with Kubernetes' own autoscaler at work.

It has no metrics here, so it does the one thing that it does without: it keeps numbers within their bounds, at once and
whatever its behaviour says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipelines.executors.kubernetes.names import Ref
from tests.cluster.rollout_helpers import Installation, Said, installation, service, until, workload

pytestmark = pytest.mark.cluster

SCALER = Ref("HorizontalPodAutoscaler", "web", "autoscaling")
HALF = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]}}
PREVIEW = {"blueGreen": {"steps": [{"pause": {}}]}}
# Its controller looks every 15 s.
LOOKS_WITHIN = 60.0


@pytest.fixture
def place(cluster, tmp_path) -> Iterator[Installation]:
    with installation(cluster, tmp_path) as made:
        yield made


def scaler(least: int, most: int = 6, target: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": SCALER.kind,
        "metadata": {"name": SCALER.name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": least,
            "maxReplicas": most,
        },
    }


def unscaled() -> dict[str, Any]:
    """A workload whose manifest leaves its number of replicas to the autoscaler."""
    item = workload()
    del item["spec"]["replicas"]
    return item


def replicas(place: Installation, release: str) -> int:
    (found,) = (
        item
        for item in place.client().list("Deployment")
        if item["metadata"]["labels"]["burger-stack/release"] == release
    )
    return int(found["spec"]["replicas"])


def live(place: Installation) -> dict[str, Any]:
    found = place.client().get(SCALER)
    assert found is not None
    return found


def test_a_canary_by_replicas_is_not_filled_up_again_and_ends_with_as_many_as_there_were(place):
    objects = [unscaled(), service(), scaler(4)]
    before = place.rolled(place.spec("a", objects))
    assert place.releases_of_pods() == {before: 4}, "the first release begins with what the autoscaler wants"
    spec = place.spec("b", objects, HALF)
    outcome, _ = place.roll(spec, "half")
    canary = outcome.data["release"]
    until(lambda: place.releases_of_pods() == {before: 2, canary: 2}, "half of each")
    assert live(place)["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Disabled"
    until(lambda: live(place)["status"].get("currentReplicas") == 2, "the autoscaler's look", LOOKS_WITHIN)
    assert replicas(place, before) == 2, "it would have filled up to 4"
    outcome, _ = place.roll(replace(spec, resumes=1), "half")
    assert outcome.state == "succeeded"
    assert place.releases_of_pods() == {canary: 4}
    spec = live(place)["spec"]
    assert spec["minReplicas"] == 4
    assert "Disabled" not in str(spec)
    assert spec["scaleTargetRef"]["name"] != "web"
    assert place.status()["drift"] == []


def test_what_is_added_while_a_preview_stands_is_added_to_the_new_release_too(place):
    objects = [unscaled(), service(), scaler(2)]
    before = place.rolled(place.spec("a", objects))
    spec = place.spec("b", objects, PREVIEW)
    outcome, events = place.roll(spec, "preview")
    canary = outcome.data["release"]
    assert place.releases_of_pods() == {before: 2, canary: 2}
    assert any("only adds replicas until the rollout is over" in getattr(event, "text", "") for event in events)
    # As load would: more are needed than there are.
    place.client().patch(SCALER, {"spec": {"minReplicas": 4}}, manager="somebody")
    until(lambda: replicas(place, before) == 4, "the autoscaler's look", LOOKS_WITHIN)
    outcome, _ = place.roll(replace(spec, resumes=1), "preview")
    assert outcome.state == "succeeded"
    assert place.releases_of_pods() == {canary: 4}
    assert live(place)["spec"]["minReplicas"] == 2


def test_an_abort_leaves_the_stable_release_to_its_autoscaler_again(place):
    objects = [unscaled(), service(), scaler(3)]
    before = place.rolled(place.spec("a", objects))
    own = live(place)["spec"]
    spec = place.spec("b", objects, HALF)
    place.roll(spec, "aborted")
    outcome, _ = place.roll(replace(spec, resumes=1), "aborted", Said(orders=("abort",)))
    assert outcome.state == "failed"
    assert place.releases_of_pods() == {before: 3}
    assert live(place)["spec"] == own


def test_the_same_release_again_leaves_the_autoscalers_number(place):
    objects = [unscaled(), service(), scaler(2)]
    before = place.rolled(place.spec("a", objects))
    place.client().patch(SCALER, {"spec": {"minReplicas": 4}}, manager="somebody")
    until(lambda: replicas(place, before) == 4, "the autoscaler's look", LOOKS_WITHIN)
    assert place.rolled(place.spec("a", objects)) == before
    assert replicas(place, before) == 4


def test_a_plan_shows_a_changed_autoscaler_and_refuses_one_that_is_somebody_elses(place):
    objects = [workload(), service()]
    before = place.rolled(place.spec("a", objects))
    plan = place.executor.plan(place.spec("b", [*objects, scaler(2)], HALF))
    assert any("HorizontalPodAutoscaler/web" in change.title for change in plan.changes)
    (deployment,) = place.client().list("Deployment")
    place.client().create(scaler(2, target=deployment["metadata"]["name"]) | {"metadata": {"name": "mine"}})
    with pytest.raises(Exception, match="HorizontalPodAutoscaler/mine scales Deployment/web-"):
        place.executor.plan(place.spec("b", objects, HALF))
    assert place.releases_of_pods() == {before: 4}
