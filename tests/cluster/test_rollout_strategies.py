"""Every strategy on a real cluster, with clients that ask all the time: not one of them is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from pipelines.executors.base import Progress
from pipelines.executors.rollout import releases, retire
from tests.cluster.rollout_helpers import Installation, Load, Said, installation, route, service, until, workload

pytestmark = pytest.mark.cluster

STEPS = {"canary": {"steps": [{"setWeight": 25}, {"setWeight": 50}, {"setWeight": 100}]}}
FOR_EVER = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]}}
HEADLESS = {**service("db"), "spec": {**service("db")["spec"], "clusterIP": "None"}}
CONFIGURATION = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {}}


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    """One environment with a first release; each test rolls out something of its own."""
    with installation(cluster, tmp_path_factory.mktemp("rollout")) as made:
        made.rolled(made.spec("a", [workload(), service()]))
        yield made


@pytest.fixture
def gateway(place: Installation):
    """The host under which the environment is reached through the cluster's gateway."""
    if place.facts.gateway is None:
        pytest.skip("this cluster tells of no gateway")
    place.connect(f"http://{place.facts.gateway.address}")
    yield f"{place.namespaces[0]}.example"
    place.connect()


@pytest.mark.parametrize(
    "strategy",
    [{"rolling": {"maxSurge": 1, "maxUnavailable": 0}}, {"rolling": {}}, STEPS, {"blueGreen": {}}],
    ids=["rolling-surge", "rolling", "canary", "blue-green"],
)
def test_no_request_is_lost_while_a_release_replaces_another(place, strategy):
    before = place.status()["release"]
    version = {"a": "b", "b": "a"}[place.current_version()]
    with Load(place.service_address()) as load:
        until(lambda: load.total > 50, "traffic")
        release = place.rolled(place.spec(version, [workload(), service()], strategy))
        load.answers.clear()
        until(lambda: load.answers[release] > 50, "answers of the new release")
    assert load.failures == []
    assert place.releases_of_pods() == {release: 4}
    status = place.status()
    assert (status["release"], status["weights"], status["drift"]) == (release, {release: 100}, [])
    assert status["sets"][release]["web"]["ready"] == 4
    assert before not in status["sets"]


def test_a_route_divides_the_traffic_exactly_and_loses_nothing(place, gateway):
    objects = [workload(), service(), route(place.facts, gateway)]
    before = place.rolled(place.spec("a", objects))
    spec, control = place.spec("b", objects, FOR_EVER), Said()
    address = place.facts.gateway.address
    with Load(address, host=gateway) as load:
        until(lambda: load.answers[before] > 20, "traffic through the gateway")
        load.failures.clear()  # of before the gateway knew the route
        outcome, _ = place.roll(spec, "weighted", control)
        assert (outcome.state, outcome.data["weights"]) == ("paused", {before: 50, outcome.data["release"]: 50})
        canary = outcome.data["release"]
        assert place.releases_of_pods() == {before: 4, canary: 2}, "the stable set stays complete behind a route"
        load.answers.clear()
        until(lambda: load.total > 400, "enough traffic")
        share = load.answers[canary] / load.total
        outcome, _ = place.roll(replace(spec, resumes=1), "weighted", control)
        load.answers.clear()
        until(lambda: load.answers[canary] > 50, "answers of the new release")
    assert abs(share - 0.5) < 0.05
    assert load.failures == []
    assert outcome.state == "succeeded"
    assert set(place.asked(address, gateway, 20)) == {canary}
    assert len(place.client().list("Service")) == 1, "the releases' own Services are gone"


def test_whoever_asks_for_a_release_by_header_gets_it_whatever_its_weight(place, gateway):
    objects = [workload(), service(), route(place.facts, gateway)]
    before = place.rolled(place.spec("b", objects))
    steps = {"blueGreen": {"steps": [{"pause": {}}]}}
    outcome, _ = place.roll(place.spec("a", objects, steps), "preview")
    preview, address = outcome.data["release"], place.facts.gateway.address
    until(lambda: set(place.asked(address, gateway, 3, preview)) == {preview}, "the route by header")
    assert set(place.asked(address, gateway, 10, preview)) == {preview}
    assert set(place.asked(address, gateway, 10)) == {before}, "a preview gets no traffic"
    place.executor.cancel(place.spec("a", objects, steps), "preview")
    assert place.releases_of_pods() == {before: 4}


def test_a_release_is_measured_under_way_and_its_own_verdict_turns_it_back(place):
    measured = {"paths": ["/broken"], "soak": "2s", "interval": "100ms", "minimum_samples": 5, "error_rate": 0.1}
    steps = {"canary": {"steps": [{"setWeight": 50}, {"verify": measured}]}}
    before = place.rolled(place.spec("a", [workload(replicas=2), service()]))
    place.connect(f"http://{place.service_address()}")
    outcome, _ = place.roll(place.spec("b", [workload(replicas=2, BROKEN="yes"), service()], steps), "measured")
    assert outcome.state == "failed"
    assert outcome.reason.startswith("verify failed: ")
    assert place.releases_of_pods() == {before: 2}
    assert place.roll(place.spec("b", [workload(replicas=2), service()], steps), "good")[0].state == "succeeded"
    place.connect()


def test_a_stateful_set_moves_pod_by_pod_from_its_end_and_back(place):
    objects = [workload("StatefulSet", "db", 3), HEADLESS]
    before = place.rolled(place.spec("a", objects))
    spec = place.spec("b", objects, FOR_EVER)
    outcome, _ = place.roll(spec, "stateful")
    canary = outcome.data["release"]
    by_pod = {pod["metadata"]["name"]: pod["metadata"]["labels"]["burger-stack/release"] for pod in place.pods()}
    assert by_pod == {"db-0": before, "db-1": canary, "db-2": canary}
    outcome, _ = place.roll(replace(spec, resumes=1), "stateful", Said(("abort",)))
    assert (outcome.state, outcome.reason) == ("failed", "aborted by a person")
    assert place.releases_of_pods() == {before: 3}


def test_a_daemon_set_moves_node_by_node(place):
    nodes = len(place.facts.nodes)
    objects = [workload("DaemonSet", "agent"), service("agent")]
    before = place.rolled(place.spec("a", objects))
    assert place.releases_of_pods() == {before: nodes}
    seen: list[Counter[str]] = []
    spec = place.spec("b", objects, FOR_EVER)
    for event in place.executor.start(spec, "daemon", Said()):
        if isinstance(event, Progress):
            seen.append(place.releases_of_pods())
    canary = next(name for name in seen[-1] if name != before)
    assert seen[-1] == {before: nodes - nodes // 2, canary: nodes // 2}
    assert min(counts.total() for counts in seen) >= nodes - 1, "one node at a time"
    outcome, _ = place.roll(replace(spec, resumes=1), "daemon")
    assert outcome.state == "succeeded"
    assert place.releases_of_pods() == {canary: nodes}


def test_a_rollback_restores_images_and_configuration_together_and_skips_the_steps(place):
    def objects(word: str) -> list[dict]:
        web = workload()
        container = web["spec"]["template"]["spec"]["containers"][0]
        container["envFrom"] = [{"configMapRef": {"name": "words"}}]
        return [web, service(), {**CONFIGURATION, "data": {"GREETING": word}}]

    first = place.rolled(place.spec("a", objects("hello")))
    second = place.rolled(place.spec("b", objects("goodbye")))
    assert "goodbye" in place.page()
    assert [one["name"] for one in releases(place.home, "staging")][:2] == [second, first]
    spec = replace(place.spec("b", objects("whatever"), FOR_EVER), with_={"rollback_to": first})
    plan = place.executor.plan(spec)
    assert plan.summary == f"roll back to {first} in staging"
    with Load(place.service_address()) as load:
        until(lambda: load.total > 20, "traffic")
        outcome, _ = place.roll(spec, "back")
        load.answers.clear()
        until(lambda: load.answers[first] > 20, "answers of the first release")
    assert (outcome.state, load.failures) == ("succeeded", [])
    assert "hello" in place.page()
    assert place.releases_of_pods() == {first: 4}
    # It holds until a person lets the next one go on.
    after = place.spec("b", objects("goodbye"))
    outcome, _ = place.roll(after, "after")
    assert outcome.state == "paused"
    assert f"rolled back to {first}" in outcome.reason
    assert place.executor.plan(after).details["held"]
    assert place.releases_of_pods() == {first: 4}
    assert place.roll(replace(after, resumes=1), "after")[0].state == "succeeded"
    assert place.rolled(place.spec("a", objects("hello"))) != first


def test_the_same_content_restarts_nothing_and_a_number_only_scales(place):
    objects = [workload(), service()]
    release = place.rolled(place.spec("a", objects))
    names = {pod["metadata"]["name"] for pod in place.pods()}
    spec = place.spec("a", objects)
    assert place.executor.plan(spec).summary == f"leave staging at {release}, which runs there already"
    assert place.rolled(spec) == release
    assert {pod["metadata"]["name"] for pod in place.pods()} == names
    assert place.rolled(place.spec("a", objects, replicas={"web": 5})) == release
    assert names < {pod["metadata"]["name"] for pod in place.pods()}


def test_blue_green_keeps_the_old_set_for_a_fast_return(place):
    objects = [workload(), service()]
    before = place.rolled(place.spec("b", objects))
    release = place.rolled(place.spec("a", objects, {"blueGreen": {"keep": "10m"}}))
    assert place.releases_of_pods() == {before: 4, release: 4}
    names = {pod["metadata"]["name"] for pod in place.pods()}
    until(lambda: place.page().startswith(release), "the new release")
    assert {place.page().split()[0] for _ in range(10)} == {release}, "what is kept gets no traffic"
    spec = replace(place.spec("a", objects), with_={"rollback_to": before})
    assert place.roll(spec, "return")[0].state == "succeeded"
    assert place.releases_of_pods() == {before: 4}
    assert {pod["metadata"]["name"] for pod in place.pods()} < names, "no pod had to start"
    assert place.roll(place.spec("a", objects), "released")[0].state == "paused"
    assert place.roll(replace(place.spec("a", objects), resumes=1), "released")[0].state == "succeeded"


def test_what_blue_green_kept_goes_when_its_time_is_over(place):
    objects = [workload(), service()]
    before = place.rolled(place.spec("b", objects))
    release = place.rolled(place.spec("a", objects, {"blueGreen": {"keep": "1s"}}))
    assert place.releases_of_pods() == {before: 4, release: 4}
    assert until(lambda: retire(place.home), "its time") == [f"staging: {before}"]
    until(lambda: place.releases_of_pods() == {release: 4}, "the old set to be gone")
    assert retire(place.home) == []
    assert place.status()["drift"] == []
