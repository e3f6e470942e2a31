"""Clusters that are away in the middle of a rollout: one of several, and one whose rollout is to be stopped."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.utils import timezone

from pipelines import runs
from pipelines.engines.local.sweep import sweep
from pipelines.executors import connections, registry
from pipelines.executors.base import Artifact, EngineAwayError, Log, Outcome, Produced, Progress, StageSpec
from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.models import Attempt, Pipeline, Run, Stage
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.rollout_helpers import Installation, Said, installation, service, until, workload
from tests.pipelines.helpers import begin, stage

pytestmark = pytest.mark.cluster

HALF = {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "2s"}}, {"setWeight": 75}]}}
STOPS = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A cluster counts as away after less time than otherwise."""
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "patience", 2.0)


def objects() -> list[dict[str, Any]]:
    return [workload(replicas=2), service()]


# --- one of two clusters ----------------------------------------------------------------------------------


@dataclass
class Parted:
    """An environment with a place in each of two clusters, and the doors to them; both are the same cluster. `pods`
    counts releases in a place, whatever door is shut."""

    place: Installation
    doors: dict[str, FaultyApi]

    def pods(self, name: str) -> Counter[str]:
        namespace = dict(zip(self.doors, self.place.namespaces, strict=True))[name]
        client = Client(Cluster("main", Path(self.place.facts.kubeconfig)), namespace)
        found = client.list("Pod", labels="burger-stack/template")
        staying = (pod["metadata"] for pod in found if not pod["metadata"].get("deletionTimestamp"))
        return Counter(pod["labels"]["burger-stack/release"] for pod in staying)

    def cut_in_the_pause(self, spec: StageSpec, key: str, name: str) -> Outcome:
        outcome: Any = None
        for outcome in self.place.executor.start(spec, key, Said()):
            if isinstance(outcome, Progress) and outcome.text.startswith("paused"):
                self.doors[name].cut()
        return outcome


@pytest.fixture
def parted(cluster, tmp_path) -> Iterator[Parted]:
    with installation(cluster, tmp_path, places=2) as place, ExitStack() as stack:
        doors = {name: FaultyApi(cluster.kubeconfig) for name in ("north", "south")}
        for door in doors.values():
            stack.callback(door.close)
        clusters = {name: {"kubeconfig": door.kubeconfig(tmp_path / name)} for name, door in doors.items()}
        places = zip(doors, place.namespaces, strict=True)
        spots = [{"cluster": name, "namespace": namespace} for name, namespace in places]
        content = {"clusters": clusters, "environments": {"staging": {"url": "", "places": spots}}}
        (place.home / connections.FILE).write_text(yaml.safe_dump(content))
        place.rolled(place.spec("a", objects()))
        yield Parted(place, doors)


# The records are in the first place.
@pytest.mark.parametrize(("away", "there"), [("south", "north"), ("north", "south")])
def test_what_answers_goes_back_by_the_deadline_and_the_rest_once_it_is_there(parted, away, there):
    place = parted.place
    before = place.status()["release"]
    spec = place.spec("b", objects(), HALF, progressDeadline=12)
    canary = f"shop-{spec.run}-{spec.commit[:7]}"
    assert parted.cut_in_the_pause(spec, "parted", away).state == "engine"
    assert set(parted.pods(there)) == {before, canary}, "frozen"
    outcome, events = place.roll(spec, "parted")
    assert outcome.state == "engine", events
    assert "stays as it is" in "".join(event.text for event in events if isinstance(event, Log))
    assert f"What answers of staging is back at {before}; what the rest has is unknown" in outcome.reason
    assert away in outcome.reason
    assert parted.pods(there) == {before: 2}
    assert set(parted.pods(away)) == {before, canary}, "nobody could tell it"
    assert place.roll(spec, "parted")[0].state == "engine", "as often as it is asked"
    parted.doors[away].mend()
    outcome, _ = place.roll(spec, "parted")
    assert outcome.state == "failed", outcome
    assert "did not answer for" in outcome.reason
    for name in (away, there):
        until(lambda name=name: parted.pods(name) == {before: 2}, "one release everywhere")


def test_a_part_that_is_back_before_the_deadline_goes_on_with_the_others(parted):
    spec = parted.place.spec("b", objects(), HALF, progressDeadline=60)
    assert parted.cut_in_the_pause(spec, "short", "south").state == "engine"
    outcome: Any = None
    for outcome in parted.place.executor.start(spec, "short", Said()):
        if isinstance(outcome, Log) and "stays as it is" in outcome.text:
            parted.doors["south"].mend()
    assert outcome.state == "succeeded", outcome
    for name in parted.doors:
        assert parted.pods(name) == {outcome.data["release"]: 2}


def test_who_cancels_stops_what_answers_at_once(parted):
    place, away, there = parted.place, "north", "south"
    before = place.status()["release"]
    spec = place.spec("b", objects(), STOPS, progressDeadline=600)
    assert place.roll(spec, "told", Said())[0].state == "paused"
    parted.doors[away].cut()
    with pytest.raises(EngineAwayError, match="back at"):
        place.executor.cancel(spec, "told")
    assert parted.pods(there) == {before: 2}
    parted.doors[away].mend()
    place.executor.cancel(spec, "told")
    assert parted.pods(away) == {before: 2}


# --- a run that is canceled while its cluster is away -------------------------------------------------------

FILE = """
stages:
  - {name: source, kind: command, owner: dev, with: {command: [x]}}
  - {name: publish, kind: command, owner: dev, needs: [source], with: {command: [x]}}
  - name: ship
    kind: rollout
    owner: ops
    needs: [source, publish]
    environment: staging
    with: {target: kubernetes, progressDeadline: 30s, strategy: %s}
environments: {staging: {owner: ops}}
"""


@pytest.fixture
def shipping(cluster, tmp_path, settings, monkeypatch, pipeline) -> Iterator[tuple[Installation, FaultyApi]]:
    """An installation whose cluster can be cut off; its stages of the kind `command` make what a rollout needs."""
    with installation(cluster, tmp_path) as place, contextlib.closing(FaultyApi(cluster.kubeconfig)) as api:
        place.connect(kubeconfig=api.kubeconfig(tmp_path / "wire"))
        place.rolled(place.spec("a", objects()))
        settings.HOME = place.home
        Pipeline.objects.filter(pk=pipeline.pk).update(slug="shop")
        pipeline.refresh_from_db()
        made = place.spec("b", objects()).artifacts
        real = registry.make

        def make(kind: str, workplace: Any) -> Any:
            return Makes(made) if kind == "command" else real(kind, workplace)

        monkeypatch.setattr(registry, "make", make)
        yield place, api


class Makes:
    def __init__(self, artifacts: dict[str, Artifact]) -> None:
        self.artifacts = artifacts

    def start(self, spec: Any, key: str, control: Any) -> Iterator[Any]:
        yield Produced(self.artifacts[spec.stage])
        yield Outcome("succeeded")


def went_on(run: Run, working: Callable[[], None]) -> Stage:
    """What a stage that waits comes to, without the wait."""
    Stage.objects.filter(run=run, due_at__isnull=False).update(due_at=timezone.now() - timedelta(seconds=1))
    sweep()
    working()
    return stage(run, "ship")


@pytest.mark.django_db(transaction=True)
def test_a_canceled_run_whose_cluster_is_away_goes_back_once_it_answers(shipping, pipeline, cast, monkeypatch):
    from pipelines.engines.local.tasks import work

    place, api = shipping
    before = place.releases_of_pods()
    run = begin(pipeline, FILE % yaml.safe_dump(STOPS, default_flow_style=True).strip())
    work()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "approval"), ship.reason
    assert len(place.releases_of_pods()) == 2
    api.cut()
    runs.cancel(run=run.pk, user=cast.pete, reason="not today")
    began = time.monotonic()
    work()
    assert time.monotonic() - began < 40, "no worker waits for a cluster for minutes"
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("queued", "stop")
    assert "cannot be stopped yet: The cluster main" in ship.reason
    assert ship.due_at is not None
    ship = went_on(run, work)
    assert (ship.state, ship.reason_code) == ("queued", "stop")
    api.mend()
    ship = went_on(run, work)
    assert (ship.state, ship.reason) == ("canceled", "the run was canceled")
    assert place.releases_of_pods() == before
    assert Run.objects.get(pk=run.pk).state == "canceled"
    assert not Attempt.objects.filter(open=True).exists()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_waits_for_its_cluster_may_be_canceled_too(shipping, pipeline, cast, monkeypatch):
    from pipelines.engines.local.tasks import work

    place, api = shipping
    before = place.releases_of_pods()
    seen = RolloutExecutor.start

    def start(self: RolloutExecutor, *arguments: Any) -> Iterator[Any]:
        for event in seen(self, *arguments):
            if isinstance(event, Progress) and event.text.startswith("paused"):
                api.cut()
            yield event

    with monkeypatch.context() as patch:
        patch.setattr(RolloutExecutor, "start", start)
        run = begin(pipeline, FILE % yaml.safe_dump(HALF, default_flow_style=True).strip())
        work()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "engine"), ship.reason
    runs.cancel(run=run.pk, user=cast.pete, reason="not today")
    work()
    assert (stage(run, "ship").state, stage(run, "ship").reason_code) == ("queued", "stop")
    api.mend()
    assert went_on(run, work).state == "canceled"
    assert place.releases_of_pods() == before
