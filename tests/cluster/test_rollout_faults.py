"""Many canaries on days when everything goes wrong at once: busy servers, lost answers, partitions, aborts, kills. Each
ends with one version everywhere, and never did anything run that nobody approved.

What happens is drawn from BURGER_SEED (printed), how often from `tests.torture.count`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Log, Outcome, StageSpec
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.rollout.kubernetes.records import Records
from tests.cluster.facts import Facts
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.rollout_helpers import Installation, Load, Said, installation, service, until, workload
from tests.torture import count

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.torture]

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("BURGER_SEED") or random.SystemRandom().randrange(10**6))
# Within which everything has to be of one version again.
MIXED_FOR = 120.0
REPLICAS = 3
# Of all requests so many go wrong.
SHARE = 0.1
# Environments at a time.
LANES = 2

WORKER = """
import json, sys
from pathlib import Path
from pipelines.executors.base import Artifact, Outcome, StageSpec, Workplace
from pipelines.executors.rollout.executor import RolloutExecutor
data, home, key, orders = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
data["artifacts"] = {name: Artifact(**one) for name, one in data["artifacts"].items()}
class Told:
    def stopping(self): return False
    def commands(self): return tuple(orders.read_text().split()) if orders.exists() else ()
print("begins", flush=True)
for event in RolloutExecutor(Workplace(home=home)).start(StageSpec(**data), key, Told()):
    if isinstance(event, Outcome):
        print(json.dumps([event.state, event.reason]), flush=True)
"""


def objects() -> list[dict[str, Any]]:
    return [workload(replicas=REPLICAS), service()]


@dataclass
class Seen:
    """Every image that a pod of the namespace was ever made with, followed without the faults."""

    client: Client
    images: set[str] = field(default_factory=set)

    def __enter__(self) -> Seen:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        with contextlib.closing(self.client.watch("Pod", tick=0.2)) as events:
            for event in events:
                if event is not None and event.object:
                    self.images |= {one["image"] for one in event.object["spec"]["containers"]}
                if self._stop.is_set():
                    return


class Round:
    """One canary, driven by processes of its own that may be killed."""

    def __init__(self, place: Installation, api: FaultyApi, chance: random.Random, number: int, seed: int) -> None:
        self.place, self.api, self.chance, self.seed = place, api, chance, seed
        self.key, self.orders = f"fault-{number}", place.home / f"orders-{number}"
        self.did: list[str] = []

    def spec(self, version: str) -> StageSpec:
        steps = self.chance.choice(
            (
                [{"setWeight": 25}, {"pause": {"duration": "300ms"}}, {"setWeight": 75}],
                [{"setWeight": 50}, {"setWeight": 100}],
                [{"setWeight": 40}, {"pause": {"duration": "1s"}}],
            )
        )
        return self.place.spec(version, objects(), {"canary": {"steps": steps}}, progressDeadline=40)

    def swapped(self, spec: StageSpec) -> StageSpec:
        """The same, after somebody has put another image in its place."""
        other = self.place.spec("never", objects(), spec.with_["strategy"])
        return replace(spec, artifacts=other.artifacts)

    def go(self, approved: StageSpec, other: StageSpec) -> tuple[str, str]:
        """`approved` has its plan's digest; `other` is the same stage with an image that nobody approved. Returns how
        it ended, driven on as the run engine drives a stage on."""
        kills = self.chance.choice((0, 0, 1, 2))
        others = self._disturb()
        try:
            while True:
                spec = other if self.chance.random() < 0.25 else approved
                if spec is other:
                    self.did.append("swap")
                said = self._drive(spec, self.chance.uniform(0, 6) if kills else None)
                if said and said[0] not in ("engine", "changed"):
                    return said[0], said[1]
                assert spec is other or said[:1] != ["changed"], f"{self}: {said}"
                kills -= not said
                self.did.append(said[0] if said else "kill")
        finally:
            for one in others:
                one.join()
            self.api.mend()

    def _disturb(self) -> list[threading.Thread]:
        """Aborts and partitions, at moments drawn beforehand."""
        acts = []
        if self.chance.random() < 0.3:
            acts.append((self.chance.uniform(0, 7), self._abort))
        if self.chance.random() < 0.3:
            # Now and then for longer than a client has patience.
            lasts = self.chance.choice((0.5, 2.0, 4.0, 11.5))
            acts.append((self.chance.uniform(0, 6), lambda: self._partition(lasts)))
        timers = [threading.Timer(after, act) for after, act in acts]
        for timer in timers:
            timer.start()
        return list(timers)

    def _abort(self) -> None:
        self.did.append("abort")
        self.orders.write_text("abort")

    def _partition(self, seconds: float) -> None:
        self.did.append(f"partition {seconds:g} s")
        self.api.cut()
        time.sleep(seconds)
        self.api.mend()

    def _drive(self, spec: StageSpec, kill_after: float | None) -> list[str]:
        """[state, reason], nothing where the process was killed."""
        arguments = [json.dumps(asdict(spec)), str(self.place.home), self.key, str(self.orders)]
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            try:
                text, _ = process.communicate(timeout=kill_after or 240)
            except subprocess.TimeoutExpired:
                assert kill_after, f"{self}: no end"
                process.send_signal(signal.SIGKILL)
                return []
        assert text, f"{self}: the driver ended with {process.returncode} and said nothing"
        return json.loads(text)

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.key} ({', '.join(self.did) or 'no disturbance'})"


def settled(place: Installation) -> str:
    """The one release that there is, as pods, Deployments, Service and record agree; "" while they do not."""
    client = place.client()
    state = Records(client, "staging").read()
    kept = Records(client, "staging").release(state.stable)
    deployments = client.list("Deployment")
    (web,) = [item for item in client.list("Service") if item["metadata"]["name"] == "web"]
    agree = (
        state.rollout == ""
        and kept is not None
        and place.releases_of_pods() == {state.stable: REPLICAS}
        and [item["spec"]["replicas"] for item in deployments] == [REPLICAS]
        and "burger-stack/template" not in web["spec"]["selector"]
        and {kept.release.services["web"].digest} == {image.partition("@")[2] for image in images_of(place)}
    )
    return state.stable if agree else ""


def images_of(place: Installation) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in place.pods()}


@dataclass
class Tally:
    """What became of some canaries. `longest` is the most seconds that anything of two versions was left after an end,
    `never` the images that ran although nobody approved them."""

    ends: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    never: set[str] = field(default_factory=set)
    injected: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    asked: int = 0


def canaries(cluster: Facts, folder: Path, seed: int, rounds: int) -> Tally:
    """So many canaries, one after another, in a namespace of their own."""
    chance, tally, approved = random.Random(seed), Tally(), set()
    folder.mkdir()
    api = FaultyApi(cluster.kubeconfig, chance, SHARE)
    with installation(cluster, folder) as place, contextlib.closing(api):
        place.rolled(place.spec("a", objects()))
        direct = place.client()
        approved.add(place.images["a"])
        place.connect(kubeconfig=api.kubeconfig(folder / "faulty"))
        with Seen(direct) as seen, Load(place.service_address(), clients=1, pause=0.02) as load:
            for number in range(rounds):
                one = Round(place, api, chance, number, seed)
                with api.well():
                    version = {"a": "b", "b": "a"}[place.current_version()]
                    spec = one.spec(version)
                    spec = replace(spec, approved_digest=place.executor.plan(spec).digest)
                approved.add(place.images[version])
                state, reason = one.go(spec, one.swapped(spec))
                tally.ends[state] += 1
                print(f"{one}: {state} {reason[:120]}")
                assert state in ("succeeded", "failed"), f"{one}: {state}, {reason}"
                ended = time.monotonic()
                with api.well():
                    until(lambda: settled(place), f"one version after {one}: {state}, {reason}", MIXED_FOR)
                    tally.longest = max(tally.longest, time.monotonic() - ended)
                    assert (place.current_version() == version) == (state == "succeeded"), f"{one}: {state}"
        tally.never, tally.injected = seen.images - approved, api.injected
        tally.lost, tally.asked = load.failures, load.total
    return tally


def test_whatever_happens_one_version_is_left_and_nothing_ran_that_nobody_approved(cluster, tmp_path):
    print(f"BURGER_SEED={SEED}")
    with ThreadPoolExecutor(LANES) as pool:
        shares = [count(20, 200) // LANES] * LANES
        lanes = pool.map(lambda lane: canaries(cluster, tmp_path / str(lane), SEED + lane, shares[lane]), range(LANES))
        tallies = list(lanes)
    ends = sum((one.ends for one in tallies), Counter())
    injected = sum((one.injected for one in tallies), Counter())
    print(f"{dict(ends)}, injected {dict(injected)}")
    print(f"of one version at most {max(one.longest for one in tallies):.1f} s after each end")
    print(f"{sum(len(one.lost) for one in tallies)} of {sum(one.asked for one in tallies)} requests lost")
    assert [one.never for one in tallies] == [set()] * LANES
    assert [one.lost for one in tallies] == [[]] * LANES
    assert {"409", "410", "429", "500", "503"} <= set(injected), injected


@pytest.mark.parametrize("strategy", [{"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}, {"blueGreen": {}}])
def test_a_worker_that_dies_while_it_tidies_up_is_followed_by_one_that_ends_it(
    cluster, tmp_path, monkeypatch, strategy
):
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with installation(cluster, tmp_path) as place:
        first = place.rolled(place.spec("a", objects()))
        spec = place.spec("b", objects(), strategy)
        ends = "succeeded"
        if "canary" in strategy:
            ends = "failed"
            assert place.roll(spec, "tidy")[0].state == "paused"
            spec = replace(spec, resumes=1)
        with monkeypatch.context() as patch:
            patch.setattr("pipelines.executors.rollout.kubernetes.target.settle", dies)
            with pytest.raises(KeyboardInterrupt):
                place.roll(spec, "tidy", Said(("abort",) if ends == "failed" else ()))
        outcome, _ = place.roll(spec, "tidy")
        assert outcome.state == ends, outcome
        stable = until(lambda: settled(place), "one release alone")
        assert (stable == first) == (ends == "failed")


# --- aborts -----------------------------------------------------------------------------------------------


@dataclass
class Aborts:
    """`took` has the seconds from each word to the stable release alone, all of its replicas ready; `late` counts
    those who spoke after all traffic had moved."""

    took: list[float] = field(default_factory=list)
    late: int = 0
    lost: list[str] = field(default_factory=list)
    asked: int = 0


QUICK = {
    "canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "500ms"}}, {"setWeight": 50}, {"setWeight": 75}]}
}


def aborted(place: Installation, version: str, after: float, done: Aborts) -> bool:
    """One canary that is aborted so many seconds after its beginning; whether it had moved all traffic before."""
    spec, control = place.spec(version, objects(), QUICK), Said()
    before, moved = place.releases_of_pods(), 0.0
    said: list[float] = []

    def say() -> None:
        control.orders = ("abort",)
        said.append(time.monotonic())

    timer = threading.Timer(after, say)
    timer.start()
    outcome = None
    for outcome in place.executor.start(spec, f"run-{spec.run}", control):
        if isinstance(outcome, Log) and outcome.text.endswith(" has all traffic\n"):
            moved = time.monotonic()
    timer.cancel()
    timer.join()
    assert isinstance(outcome, Outcome)
    if outcome.state == "succeeded":
        assert not said or said[0] >= moved, f"an abort after {after:.3f} s was not acted on"
        done.late += 1
        return True
    assert (outcome.state, outcome.reason) == ("failed", "aborted by a person"), outcome
    until(lambda: place.releases_of_pods() == before, "the stable release alone")
    done.took.append(time.monotonic() - said[0])
    return False


def aborts(cluster: Facts, folder: Path, seed: int, times: int) -> Aborts:
    chance, done = random.Random(seed), Aborts()
    folder.mkdir()
    with installation(cluster, folder) as place:
        version = "a"
        place.rolled(place.spec(version, objects()))
        with Load(place.service_address(), clients=1, pause=0.02) as load:
            while len(done.took) < times:
                other = {"a": "b", "b": "a"}[version]
                if aborted(place, other, chance.uniform(0, 4), done):
                    version = other
        done.lost, done.asked = load.failures, load.total
    return done


def test_every_abort_is_acted_on_whenever_it_comes(cluster, tmp_path):
    print(f"BURGER_SEED={SEED}")
    with ThreadPoolExecutor(LANES) as pool:
        times = count(50, 1000) // LANES
        lanes = list(pool.map(lambda n: aborts(cluster, tmp_path / str(n), SEED + n, times), range(LANES)))
    took = sorted(seconds for one in lanes for seconds in one.took)
    lost, asked = [line for one in lanes for line in one.lost], sum(one.asked for one in lanes)
    shares = {f"{share:.0%}": round(took[int(share * (len(took) - 1))], 2) for share in (0.5, 0.95, 1)}
    print(f"{len(took)} aborts acted on, {sum(one.late for one in lanes)} came when all traffic had moved")
    print(f"from the word to the stable release alone, in s: {shares}; {len(lost)} of {asked} requests lost")
    assert lost == []
    assert took[-1] < 40
