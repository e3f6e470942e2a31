"""What can go wrong on a real cluster: pods that do not come, workers that die, people who change their minds, and a
cluster that is away."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from pipelines.executors.base import Log, Progress
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.kubernetes.transport import Transport
from tests.cluster.rollout_helpers import Installation, Load, Said, container, installation, service, until, workload

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
FOR_EVER = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]}}
SLOW = {"canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "1s"}}, {"setWeight": 75}]}}

WORKER = """
import json, sys
from pathlib import Path
from pipelines.executors.base import Artifact, StageSpec, Unattended, Workplace
from pipelines.executors.rollout.executor import RolloutExecutor
data = json.loads(sys.argv[1])
data["artifacts"] = {name: Artifact(**one) for name, one in data["artifacts"].items()}
for event in RolloutExecutor(Workplace(home=Path(sys.argv[2]))).start(StageSpec(**data), sys.argv[3], Unattended()):
    print(event, flush=True)
"""


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    with installation(cluster, tmp_path_factory.mktemp("trouble")) as made:
        made.rolled(made.spec("a", [workload(), service()]))
        yield made


def worker(place: Installation, spec, key: str) -> subprocess.Popen:
    arguments = [json.dumps(asdict(spec)), str(place.home), key]
    return subprocess.Popen([sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def other(place: Installation) -> str:
    return {"a": "b", "b": "a"}[place.current_version()]


# --- pods that do not come --------------------------------------------------------------------------------


def broken(how: str) -> list[dict]:
    web = workload(replicas=2, **({"CRASH": "no database"} if how == "crash" else {}))
    pod = web["spec"]["template"]["spec"]
    if how == "image":
        pod["containers"][0]["image"] = "10.255.255.1:5000/nothing@sha256:" + "1" * 64
    if how == "unschedulable":
        pod["nodeSelector"] = {"disk": "of-gold"}
    if how == "readiness":
        pod["containers"][0]["env"].append({"name": "HEALTHY", "value": "no"})
    return [web, service()]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("image", "cannot be pulled"),
        ("crash", "it breaks: no database"),
        ("unschedulable", "node affinity/selector"),
        ("readiness", "readiness probe does not pass"),
    ],
)
def test_a_release_that_does_not_come_up_says_why_and_goes(place, how, expected):
    before, counts = place.status()["release"], place.releases_of_pods()
    with Load(place.service_address()) as load:
        outcome, events = place.roll(place.spec(other(place), broken(how), progressDeadline=6), f"broken-{how}")
        assert load.failures == []
    assert outcome.state == "failed"
    assert "not ready within 6 s" in outcome.reason
    assert expected in outcome.reason
    if how != "readiness":
        assert any(expected in event.text for event in events if isinstance(event, Log)), "told while it waits"
    assert place.releases_of_pods() == counts
    assert place.status()["release"] == before


def test_a_quota_says_so_in_its_own_words(place):
    before = place.releases_of_pods()
    client = place.client()
    path = f"/api/v1/namespaces/{client.namespace}/resourcequotas"
    client.raw("POST", path, body={"metadata": {"name": "few"}, "spec": {"hard": {"pods": str(before.total())}}})
    try:
        spec = place.spec(other(place), [workload(), service()], {"rolling": {"maxUnavailable": 0}}, progressDeadline=5)
        outcome, _ = place.roll(spec, "quota")
    finally:
        client.raw("DELETE", f"{path}/few")
    assert outcome.state == "failed"
    assert "exceeded quota: few" in outcome.reason
    until(lambda: place.releases_of_pods() == before, "everything as it was")


# --- migrations -------------------------------------------------------------------------------------------


def migration(what: str) -> dict:
    pod = {"restartPolicy": "Never", "containers": [{**container(WHAT=what), "args": ["migrate"]}]}
    pod["containers"][0].pop("readinessProbe")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def test_a_migration_runs_to_its_end_before_the_first_new_replica(place):
    version = other(place)
    _, events = place.roll(place.spec(version, [workload(), service(), migration("well")]), "migrated")
    said = [event.text for event in events if isinstance(event, Log)]
    assert "is done" in said[0]
    assert place.current_version() == version
    before = place.releases_of_pods()
    outcome, _ = place.roll(place.spec(other(place), [workload(), service(), migration("badly")]), "unmigrated")
    assert outcome.state == "failed"
    assert "the table is locked" in outcome.reason
    assert place.releases_of_pods() == before


# --- aborts and deaths ------------------------------------------------------------------------------------


def test_an_abort_at_half_is_quick_and_loses_nothing(place):
    before = place.releases_of_pods()
    spec, control = place.spec(other(place), [workload(), service()], FOR_EVER), Said()
    with Load(place.service_address()) as load:
        assert place.roll(spec, "half", control)[0].state == "paused"
        control.orders = ("abort",)
        began = time.monotonic()
        outcome, _ = place.roll(replace(spec, resumes=1), "half", control)
        took = time.monotonic() - began
        until(lambda: place.releases_of_pods() == before, "the canary to be gone")
    assert (outcome.state, outcome.reason) == ("failed", "aborted by a person")
    assert load.failures == []
    assert took < 10


def test_an_abort_at_any_moment_is_acted_on(place):
    objects = [workload(), service()]
    before = place.releases_of_pods()
    for number in range(4):
        spec, control = place.spec(other(place), objects, SLOW), Said()
        threading.Timer(random.uniform(0.05, 4), lambda control=control: setattr(control, "orders", ("abort",))).start()
        outcome, _ = place.roll(spec, f"any-{number}", control)
        assert outcome.state in ("failed", "succeeded"), outcome
        if outcome.state == "succeeded":
            before = place.releases_of_pods()
        until(lambda before=before: place.releases_of_pods() == before, "one release alone")


def test_a_killed_worker_is_followed_by_one_that_finds_everything_in_the_cluster(place, tmp_path):
    version = other(place)
    spec = place.spec(version, [workload(), service()], SLOW)
    for _ in range(3):
        first = worker(place, spec, "killed")
        until(lambda: place.executor.probe(spec, "killed").state != "never_started", "its beginning")
        deadline = time.monotonic() + random.uniform(0, 3)
        while time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.05)
        first.kill()  # it may have ended by itself
        first.wait()
    # Another machine: it has nothing of the attempt's folder.
    (place.home / "work").rename(tmp_path / "lost")
    assert place.executor.probe(spec, "killed").state in ("running", "done")
    assert place.roll(spec, "killed")[0].state == "succeeded"
    assert place.current_version() == version
    assert len(place.releases_of_pods()) == 1
    assert place.executor.probe(spec, "killed").state == "done"


def test_an_abort_is_found_by_the_worker_after_the_one_that_was_killed(place, tmp_path):
    before = place.releases_of_pods()
    spec = place.spec(other(place), [workload(), service()], FOR_EVER)
    assert place.roll(spec, "orphan")[0].state == "paused"
    told = []
    for event in place.executor.start(replace(spec, resumes=1), "orphan", Said(("abort",))):
        told.append(event)
        if isinstance(event, Progress) and event.data["doing"] == "abort":
            break  # as if the worker had been killed: the abort is only in the cluster
    (place.home / "work").rename(tmp_path / "lost")
    outcome, _ = place.roll(replace(spec, resumes=1), "orphan", Said())
    assert (outcome.state, outcome.reason) == ("failed", "aborted by a person")
    until(lambda: place.releases_of_pods() == before, "the canary to be gone")


# --- a cluster that is away -------------------------------------------------------------------------------


class Wire:
    """A TCP proxy before the cluster's API server; `cut` refuses and ends all connections until it is mended."""

    def __init__(self, host: str, port: int) -> None:
        self.target, self.cut, self.open = (host, port), False, set()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.socket.accept()
            except OSError:
                return
            if self.cut:
                near.close()
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            self.open |= {near, far}
            for one, two in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, two), daemon=True).start()

    def _pass(self, one: socket.socket, two: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                two.sendall(data)
        except OSError:
            pass  # cut
        for end in (one, two):
            with closing(end):
                self.open.discard(end)

    def partition(self) -> None:
        self.cut = True
        for one in list(self.open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def mend(self) -> None:
        self.cut = False


@contextmanager
def wired(place: Installation, folder: Path):
    """The installation behind a wire that can be cut."""
    config = yaml.safe_load(Path(place.facts.kubeconfig).read_text())
    cluster = config["clusters"][0]["cluster"]
    address = urlsplit(cluster["server"])
    wire = Wire(address.hostname, address.port)
    cluster["server"] = f"https://127.0.0.1:{wire.port}"
    cluster["tls-server-name"] = address.hostname
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    place.connect(kubeconfig=str(path))
    try:
        yield wire
    finally:
        wire.mend()
        place.connect()
        wire.socket.close()


def test_a_partition_freezes_what_there_is_and_the_stage_goes_on_afterwards(place, tmp_path):
    version = other(place)
    spec = place.spec(version, [workload(), service()], SLOW, progressDeadline=120)
    with wired(place, tmp_path) as wire:
        for event in place.executor.start(spec, "away", Said()):
            if isinstance(event, Progress) and event.text.startswith("paused"):
                wire.partition()
            last = event
        assert last.state == "engine", last
        assert "does not answer" in last.reason
        assert place.executor.probe(spec, "away").state == "away"
        wire.mend()
        assert place.roll(spec, "away")[0].state == "succeeded"
    assert place.current_version() == version


def test_a_partition_beyond_the_deadline_ends_in_the_stable_release(place, tmp_path):
    before = place.releases_of_pods()
    spec = place.spec(other(place), [workload(), service()], SLOW, progressDeadline=8)
    with wired(place, tmp_path) as wire:
        for event in place.executor.start(spec, "gone", Said()):
            if isinstance(event, Progress) and "25 %" in event.text:
                wire.partition()
            last = event
        assert last.state == "engine", last
        wire.mend()
        outcome, _ = place.roll(spec, "gone")
    assert outcome.state == "failed"
    assert "did not answer for" in outcome.reason
    until(lambda: place.releases_of_pods() == before, "the canary to be gone")


# --- a server that is out of sorts ------------------------------------------------------------------------


class Answer:
    """What a busy server says instead."""

    def __init__(self, status: int) -> None:
        self.status, self.headers = status, {"Retry-After": "0"} if status == 429 else {}
        self.data = json.dumps({"kind": "Status", "code": status, "message": "injected", "reason": "Injected"}).encode()

    def read(self, *_: object) -> bytes:
        return self.data

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_conflicts_throttling_errors_and_expired_watches_change_nothing_about_the_end(place, monkeypatch):
    real, chance, injected = Transport.send, random.Random(7), Counter()

    def send(self, method, path, query=None, *arguments, **options):
        if chance.random() < 0.15:
            watching = (query or {}).get("watch")
            status = chance.choice((410, 500) if watching else (429, 503, 500) if method == "GET" else (409, 429, 503))
            injected[status] += 1
            return Answer(status)
        return real(self, method, path, query, *arguments, **options)

    for strategy in (SLOW, {"rolling": {}}, {"blueGreen": {}}):
        version = other(place)
        spec = place.spec(version, [workload(), service()], strategy)
        with monkeypatch.context() as patch:
            patch.setattr(Transport, "send", send)
            outcome, _ = place.roll(spec)
        assert outcome.state == "succeeded", outcome
        assert place.current_version() == version
        assert len(place.releases_of_pods()) == 1
    assert len(injected) >= 4, injected


def test_a_server_that_asks_to_be_left_alone_for_longer_than_we_wait_is(place, monkeypatch):
    spec = place.spec(place.current_version(), [workload(), service()])
    with monkeypatch.context() as patch:
        busy = Answer(429)
        busy.headers = {"Retry-After": "30"}
        patch.setattr(Transport, "send", lambda *_, **__: busy)
        began = time.monotonic()
        outcome, _ = place.roll(spec, "left-alone")
        assert time.monotonic() - began < 5
    assert (outcome.state, outcome.data) == ("engine", {"retry_after": 30})
    assert place.roll(spec, "left-alone")[0].state == "succeeded"


# --- other people -----------------------------------------------------------------------------------------


def test_what_somebody_else_changed_is_shown(place):
    assert place.status()["drift"] == []
    service_ = Ref("Service", "web")
    place.client().patch(service_, {"metadata": {"labels": {"app.kubernetes.io/part-of": "mine"}}}, manager="kubectl")
    found = until(lambda: place.status()["drift"], "the drift to be seen", 40)
    assert "Service/web" in found[0]
    assert "kubectl" in found[0]
    body = {"metadata": {"labels": {"app.kubernetes.io/part-of": "shop"}}}
    place.client().patch(service_, body, manager="kubectl")
