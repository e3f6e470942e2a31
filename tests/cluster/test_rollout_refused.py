"""What a real cluster's server refuses: before a rollout, in its middle, and on its way back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pipelines.executors.base import Log, PlanError
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Refused
from pipelines.executors.kubernetes.names import Ref
from tests.cluster.rollout_helpers import Installation, Load, installation, service, until, workload

pytestmark = pytest.mark.cluster

HALF = {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "1s"}}, {"setWeight": 100}]}}
TWO = [workload(), service(), workload(name="zeta", replicas=1), service("zeta")]


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    with installation(cluster, tmp_path_factory.mktemp("refused")) as made:
        made.rolled(made.spec("a", TWO))
        yield made


@contextmanager
def quota(client: Client, **hard: str) -> Iterator[None]:
    """In force: the server has counted what there is, and refuses what is beyond."""
    path = f"/api/v1/namespaces/{client.namespace}/resourcequotas"
    client.raw("POST", path, body={"metadata": {"name": "few"}, "spec": {"hard": hard}})
    try:
        until(lambda: client.raw("GET", f"{path}/few").get("status", {}).get("used"), "the quota to be counted")
        yield
    finally:
        client.raw("DELETE", f"{path}/few")


@pytest.mark.parametrize("strategy", [{"rolling": {}}, HALF], ids=["rolling", "canary"])
def test_what_is_refused_in_the_middle_goes_back_to_the_stable_release_and_says_why(place: Installation, strategy):
    before, stable = place.releases_of_pods(), place.status()["release"]
    # Room for one more Deployment, where the release has two.
    with quota(place.client(), **{"count/deployments.apps": "3"}), Load(place.service_address()) as load:
        outcome, events = place.roll(place.spec("b", TWO, strategy, progressDeadline=20), f"mid-{next(iter(strategy))}")
        until(lambda: place.releases_of_pods() == before, "the stable release alone")
        load.answers.clear()
        until(lambda: load.total > 100, "more customers")
    assert outcome.state == "failed"
    assert "refused" in outcome.reason
    assert "exceeded quota: few" in outcome.reason
    assert outcome.data["weights"] == {stable: 100}
    assert any("exceeded quota: few" in event.text for event in events if isinstance(event, Log)), events
    assert list(load.answers) == [stable]
    assert load.failures == []
    now = place.status()
    assert (now["release"], now["rollout"], now["weights"]) == (stable, "", {stable: 100})
    assert len(place.client().list("Deployment")) == 2


def test_a_way_back_that_is_refused_is_tried_until_the_deadline_and_then_said(place: Installation, monkeypatch):
    """Rights that are taken in the middle, as far as they are needed to write Deployments."""
    real = Client.apply

    def apply(self, item, **options):
        if item["kind"] == "Deployment" and applied:
            raise Refused("main: apply Deployment: forbidden by the test.", 403, "Forbidden")
        applied.extend([item["metadata"]["name"]] * (item["kind"] == "Deployment"))
        return real(self, item, **options)

    before, applied = place.releases_of_pods(), []
    spec = place.spec("b", TWO, progressDeadline=4)
    with monkeypatch.context() as patch:
        patch.setattr(Client, "apply", apply)
        began = time.monotonic()
        outcome, _ = place.roll(spec, "no-way-back")
        assert 3 < time.monotonic() - began < 30
    assert outcome.state == "error"
    assert "the way back to" in outcome.reason
    assert "forbidden by the test" in outcome.reason
    # Whoever comes next finds it as it is, and puts it right.
    place.rolled(place.spec("a", TWO))
    until(lambda: place.releases_of_pods() == before, "the stable release alone")


def test_a_stranger_of_the_same_name_is_met_before_the_environment_is_taken(place: Installation):
    client = place.client()
    client.create({**service("theirs"), "metadata": {"name": "theirs", "labels": {"app": "theirs"}}})
    before, state = place.releases_of_pods(), place.status()["generation"]
    outcome, _ = place.roll(place.spec("b", [*TWO, service("theirs")]), "stranger")
    assert outcome.state == "error"
    assert "Service/theirs is there already" in outcome.reason
    assert place.releases_of_pods() == before
    assert (place.status()["generation"], place.status()["rollout"]) == (state, "")
    assert client.get("Service", "theirs")["metadata"]["labels"] == {"app": "theirs"}


def test_manifests_reach_no_secret_that_their_stage_does_not_list(place: Installation):
    meta = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words"}}
    asking = {**meta, "stringData": {"OTHER": "${secret:other}"}}
    spec = place.spec("a", [*TWO, asking], secrets=["word"])
    with pytest.raises(PlanError, match=r"does not give the secret 'other' to manifests: its with\.secrets lists word"):
        place.executor.plan(spec)


def test_a_release_whose_secret_somebody_deleted_is_refused_in_the_plan(place: Installation):
    value = place.home / "secrets" / "dev" / "word"
    value.parent.mkdir(parents=True)
    meta = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words"}}
    objects = [*TWO, {**meta, "stringData": {"WORD": "${secret:word}"}}]
    releases = []
    for word in ("the-first-word", "the-second-word"):
        value.write_text(word)
        value.chmod(0o600)
        releases.append(place.rolled(place.spec("a", objects, secrets=["word"])))
    back = replace(place.spec("a", objects), with_={"target": "kubernetes", "release": releases[0]})
    assert place.executor.plan(back).summary == f"roll back to {releases[0]} in staging"
    client = place.client()
    for item in client.list("Secret", labels="app.kubernetes.io/managed-by=burger-stack"):
        client.delete(Ref.of(item))
    with pytest.raises(PlanError, match="of the kept release is gone, and nothing else held its values"):
        place.executor.plan(back)


def test_a_record_that_cannot_be_read_is_named(place: Installation):
    client = place.client()
    ref = Ref("ConfigMap", "burger-stack-staging")
    before = client.get(ref)["data"]["stable"]
    client.patch(ref, {"data": {"stable": "{"}})
    try:
        with pytest.raises(PlanError, match="ConfigMap/burger-stack-staging, the record of staging, cannot be read"):
            place.executor.plan(place.spec("b", TWO))
    finally:
        client.patch(ref, {"data": {"stable": before}})


def test_another_pipelines_state_is_left_alone(place: Installation):
    spec = replace(place.spec("b", TWO), pipeline="other")
    outcome, _ = place.roll(spec, "other")
    assert outcome.state == "failed"
    assert "is the pipeline shop's" in outcome.reason
    assert place.status()["rollout"] == ""


def test_what_one_namespace_refuses_turns_all_of_them_back(cluster, tmp_path):
    with installation(cluster, tmp_path, places=2) as made:
        objects = [workload(), service()]
        stable = made.rolled(made.spec("a", objects))
        second = made.namespaces[1]
        with quota(made.client(second), **{"count/deployments.apps": "1"}):
            outcome, _ = made.roll(made.spec("b", objects, progressDeadline=20), "lockstep")
            assert outcome.state == "failed"
            assert "exceeded quota: few" in outcome.reason
            for namespace in made.namespaces:
                until(
                    lambda where=namespace: made.releases_of_pods(where) == {stable: 4}, f"{namespace} to be as before"
                )
        assert made.status()["rollout"] == ""
