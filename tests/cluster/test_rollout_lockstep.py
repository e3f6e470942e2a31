"""Several services in two namespaces move together and, when one of them does not hold, go back together."""

from __future__ import annotations

import pytest

from pipelines.executors.base import Progress
from tests.cluster.rollout_helpers import Said, installation, service, workload

pytestmark = pytest.mark.cluster

STEPS = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    with installation(cluster, tmp_path_factory.mktemp("lockstep"), places=2) as made:
        made.rolled(made.spec("a", objects()))
        yield made


def objects(**env: str) -> list[dict]:
    return [
        workload("Deployment", "web", 2), service("web"),
        workload("Deployment", "api", 2, **env), service("api"),
    ]  # fmt: skip


def test_all_services_of_all_places_reach_a_step_before_any_goes_on(place):
    before = place.status()["release"]
    spec = place.spec("b", objects(), STEPS)
    outcome, _ = place.roll(spec, "together", Said())
    assert outcome.state == "paused"
    canary = outcome.data["release"]
    for namespace in place.namespaces:
        assert place.releases_of_pods(namespace) == {before: 2, canary: 2}
    assert sorted(place.status()["sets"][canary]) == sorted(
        f"main/{namespace}/{name}" for namespace in place.namespaces for name in ("web", "api")
    )
    place.executor.cancel(spec, "together")
    for namespace in place.namespaces:
        assert place.releases_of_pods(namespace) == {before: 4}


def test_one_service_that_does_not_hold_takes_all_of_them_back(place):
    before = place.status()["release"]
    spec = place.spec("b", objects(CRASH="nothing to eat"), STEPS, progressDeadline=15)
    most = 0
    for event in place.executor.start(spec, "broken", Said()):
        if isinstance(event, Progress):
            most = max(most, event.data["weight"])
        last = event
    assert (last.state, most) == ("failed", 0)
    assert "it breaks: nothing to eat" in last.reason
    for namespace in place.namespaces:
        assert place.releases_of_pods(namespace) == {before: 4}
