"""Whatever is killed with SIGKILL, customers are served, and the next one goes on where the last one was."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from pipelines.executors.base import Outcome, Unattended
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.control import ensure_keeper, keeper, serves, stop_keeper
from pipelines.executors.rollout.local.place import read_json
from tests.executors.rollout_helpers import Load, installation, start_keeper, until

ROOT = Path(__file__).resolve().parents[2]
LONG = {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "1s"}}, {"setWeight": 80}]}}

WORKER = """
import json, sys
from pathlib import Path
from pipelines.executors.base import Artifact, StageSpec, Unattended, Workplace
from pipelines.executors.rollout.executor import RolloutExecutor
data = json.loads(sys.argv[1])
data["artifacts"] = {name: Artifact(**one) for name, one in data["artifacts"].items()}
place = Workplace(home=Path(sys.argv[2]), environment_ports={"staging": int(sys.argv[3])})
for event in RolloutExecutor(place).start(StageSpec(**data), "joined", Unattended()):
    print(event, flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with installation(tmp_path_factory.mktemp("crash")) as made:
        made.rolled(made.spec("first"))
        yield made


def router(place) -> int:
    return next(pid for pid, _, identity, _ in place.kept() if identity == "router")


def kill_keeper(place) -> None:
    pid = keeper(place.home)["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: keeper(place.home) is None, "the keeper's death")


def worker(place, spec) -> subprocess.Popen:
    arguments = [json.dumps(asdict(spec)), str(place.home), str(place.port)]
    return subprocess.Popen([sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)


def test_a_killed_replica_is_replaced_and_leaves_the_traffic_at_once(place):
    victim = next(one for one in place.replicas() if one["ready"])
    with Load(place.port, pause=0.004) as load:
        until(lambda: load.total > 100, "traffic")
        os.kill(victim["pid"], signal.SIGKILL)
        until(lambda: any(one["restarts"] and one["ready"] for one in place.replicas()), "its replacement")
        until(lambda: load.total > 400, "traffic after it")
    # What the dead replica was answering is asked of another one: these are all GET.
    assert len(load.failures) <= 1, load.failures
    one = next(one for one in place.replicas() if one["id"] == victim["id"])
    assert (one["restarts"], one["ready"], one["pid"] != victim["pid"]) == (1, True, True)


def test_a_replica_that_hangs_leaves_the_traffic(tmp_path):
    with installation(tmp_path) as hung:
        hung.rolled(hung.spec("hangs"))
        victim = hung.replicas()[0]
        os.kill(victim["pid"], signal.SIGSTOP)
        found = until(
            lambda: [one for one in hung.replicas() if one["id"] == victim["id"] and one["state"] == "unready"],
            "it being seen",
        )
        assert "no answer to /healthz" in found[0]["error"]
        os.kill(victim["pid"], signal.SIGCONT)
        until(lambda: all(one["ready"] for one in hung.replicas()), "its return")


def test_a_killed_keeper_costs_nothing_and_the_next_one_adopts(place):
    before = {one["id"]: one["pid"] for one in place.replicas()}
    old_router = router(place)
    with Load(place.port) as load:
        until(lambda: load.total > 50, "traffic")
        kill_keeper(place)
        # Its ports are this installation's own: whoever starts it again must not take them for somebody else's.
        assert serves(place.home)
        seen = load.total
        until(lambda: load.total > seen + 100, "traffic without a keeper")
        start_keeper(place)
        until(lambda: place.status()["router"]["ok"], "the next keeper")
        place.rolled(place.spec("after the keeper"))
    assert load.failures == []
    assert router(place) == old_router
    until(lambda: not set(before) & {one["id"] for one in place.replicas()}, "the end of the adopted")
    assert not [pid for pid in before.values() if processes.started(pid)]


def test_a_replica_that_died_without_a_keeper_is_started_again(place):
    victim = place.replicas()[0]
    kill_keeper(place)
    os.kill(victim["pid"], signal.SIGKILL)
    start_keeper(place)
    until(
        lambda: any(
            one["id"] == victim["id"] and one["ready"] and one["restarts"] == victim["restarts"] + 1
            for one in place.replicas()
        ),
        "its replacement",
    )


@pytest.mark.parametrize(("method", "status", "times"), [("GET", 200, 2), ("POST", 502, 1)])
def test_what_a_dying_replica_was_asked_is_asked_again_only_if_it_may_be_done_twice(place, method, status, times):
    def restarts() -> int:
        """How often replicas were started again, once all of them serve."""
        calm = place.status()["router"]["ok"] and [one["ready"] for one in place.replicas()] == [True, True]
        return sum(one["restarts"] for one in place.replicas()) if calm else -1

    before = until(lambda: restarts() + 1, "two replicas") - 1
    asked = place.place.data / "asked"
    asked.unlink(missing_ok=True)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    connection.request(method, "/deadly", body=b"an order" if method == "POST" else None)
    answer = connection.getresponse()
    connection.close()
    assert (answer.status, asked.read_text()) == (status, "x" * times)
    until(lambda: restarts() == before + 1, "the replacement")


def test_nobody_is_sent_away_by_a_router_that_does_not_know_its_routes_yet(place):
    until(lambda: place.status()["router"]["ok"], "calm")
    old = router(place)
    with Load(place.port) as load:
        until(lambda: load.total > 50, "traffic")
        os.kill(old, signal.SIGKILL)
        until(lambda: place.status()["router"]["ok"] and processes.started(old) == 0, "a router")
        seen = load.answers.total()
        until(lambda: load.answers.total() > seen + 50, "traffic through it")
    # Cut are the requests that were under way; refused those of the moment until the keeper has the port again.
    assert not [one for one in load.failures if one.startswith("404")]
    assert len(load.failures) <= 40, load.failures


def test_a_router_whose_keeper_died_before_it_let_customers_in_is_replaced(place):
    until(lambda: place.status()["router"]["ok"], "calm")
    old = router(place)
    kill_keeper(place)
    memory = place.home / "run" / "router.json"
    memory.write_text(json.dumps(read_json(memory) | {"open": False}))
    start_keeper(place)
    until(lambda: processes.started(old) == 0, "its end")
    until(lambda: any(one[2] == "router" for one in place.kept()) and place.status()["router"]["ok"], "another router")
    assert place.get()[0] == 200


def test_a_killed_router_is_back_at_once(place):
    old, restarts = router(place), place.status()["router"]["restarts"]
    os.kill(old, signal.SIGKILL)
    seen = (restarts + 1, True)
    until(lambda: (place.status()["router"]["restarts"], place.status()["router"]["ok"]) == seen, "a router")
    assert router(place) != old
    assert place.get()[0] == 200


def test_a_worker_killed_amid_a_canary_is_joined_with_the_same_key(place):
    before = place.status()["release"]
    spec = place.spec("joined", LONG)
    with Load(place.port) as load:
        first = worker(place, spec)
        until(lambda: place.status()["weights"].get(before) == 50, "the canary")
        first.kill()
        first.wait()
        executor = RolloutExecutor(place.workplace)
        assert executor.probe(spec, "joined").state == "running"
        generation = place.status()["generation"]
        second = worker(place, spec)
        outcome = list(executor.start(spec, "joined", Unattended()))[-1]
        assert second.wait(30) == 0
    assert (outcome.state, outcome.data["weight"]) == ("succeeded", 100)
    assert place.status()["generation"] > generation
    assert load.failures == []
    assert executor.probe(spec, "joined").state == "done"
    assert list(place.place.releases.glob(f"{outcome.data['release']}.json"))


def test_a_worker_killed_at_its_last_write_is_joined_too(place):
    spec = place.spec("last write")
    release = place.rolled(spec)
    file = place.home / "work" / f"run-{spec.run}" / "rollout.json"
    progress = read_json(file)
    file.write_text(json.dumps({**progress, "outcome": None}))
    outcome, _ = place.roll(spec)
    assert (outcome.state, outcome.data["release"]) == ("succeeded", release)


def test_a_cancel_from_elsewhere_ends_a_rollout_that_is_driven(place):
    before = place.status()["release"]
    spec = place.spec("cancel", {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "1h"}}]}})
    outcomes = []
    driving = threading.Thread(target=lambda: outcomes.append(place.roll(spec)[0]))
    driving.start()
    until(lambda: place.status()["weights"].get(before) == 50, "the canary")
    kill_keeper(place)
    RolloutExecutor(place.workplace).cancel(spec, f"run-{spec.run}")
    assert place.status()["weights"] == {before: 100}
    driving.join(10)
    assert [outcome.state for outcome in outcomes] == ["canceled"]
    RolloutExecutor(place.workplace).cancel(spec, "never-started")
    assert not (place.home / "work" / "never-started").exists()


def test_an_abandoned_rollout_gives_way_to_the_next_and_knows_it(place):
    before = place.status()["release"]
    spec = place.spec("abandoned", {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}})
    assert place.roll(spec)[0].state == "paused"
    release = place.rolled(place.spec("the next", LONG))
    assert set(place.status()["weights"]) == {release}
    until(lambda: len(place.replicas()) == len(place.replicas(release)), "the end of both others")
    outcome, _ = place.roll(replace(spec, resumes=1))
    assert isinstance(outcome, Outcome)
    assert outcome.state == "failed"
    assert before != release


def test_everything_comes_back_after_a_stop(place):
    release = place.status()["release"]
    stop_keeper(place.home)
    assert not place.kept()
    assert not serves(place.home)
    with pytest.raises(OSError, match="refused"):
        place.get()
    start_keeper(place)
    until(lambda: place.status()["router"]["ok"] and place.replicas(), "the router")
    until(lambda: all(one["ready"] for one in place.replicas()), "the replicas")
    until(lambda: place.status()["router"]["ok"], "its routes")
    assert place.get()[1]["X-Release"] == release


def test_a_keeper_may_leave_alone(place):
    stop_keeper(place.home, leave=True)
    assert keeper(place.home) is None
    assert place.get()[0] == 200
    assert ensure_keeper(place.home) == ensure_keeper(place.home)


def test_a_replica_that_was_being_started_when_the_keeper_died_is_not_started_twice(place):
    stop_keeper(place.home, leave=True)
    memory = read_json(place.place.memory)
    memory[0] |= {"state": "backoff", "pid": 0, "started": 0, "port": 0}
    place.place.memory.write_text(json.dumps(memory))
    start_keeper(place)

    def settled() -> bool:
        leaders = {pid for pid, _, identity, leads in place.kept() if leads and identity != "router"}
        return leaders == {one["pid"] for one in place.replicas() if one["ready"]} and len(leaders) == 2

    until(settled, "exactly the two that are known")
    assert memory[0]["id"] in {one["id"] for one in place.replicas()}


def test_a_taken_port_is_named(tmp_path):
    with installation(tmp_path) as taken, socket.socket() as other:
        other.bind(("127.0.0.1", taken.port))
        other.listen()
        outcome, _ = taken.roll(taken.spec("no port", with_={"progressDeadline": "800ms"}))
        assert outcome.state == "failed"
        assert f"port {taken.port} of the environment staging" in outcome.reason


def test_an_idle_keeper_uses_next_to_nothing(place):
    until(lambda: {one["state"] for one in place.replicas()} == {"ready"}, "quiet")
    process = psutil.Process(keeper(place.home)["pid"])
    before = process.cpu_times()
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(3)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    assert used < 0.045, f"{used / 3:.2%} of a core"
