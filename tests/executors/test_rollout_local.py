"""Rollouts on real processes behind a real Traefik, with clients that ask all the time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipelines.executors.base import Log, Outcome, Produced, Progress
from pipelines.executors.rollout import releases
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.rollout.local.place import read_json, ring
from tests.executors.rollout_helpers import Installation, Load, installation, until

CANARY = {"canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "500ms"}}, {"setWeight": 60}]}}
FOR_EVER = {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One installation with a first release; each test rolls out something of its own."""
    with installation(tmp_path_factory.mktemp("rollout")) as made:
        made.rolled(made.spec("first"))
        yield made


@dataclass
class Said:
    """A Control for a thread: `orders` and `stop` may be set while the rollout runs."""

    orders: tuple[str, ...] = ()
    stop: bool = False

    def stopping(self) -> bool:
        return self.stop

    def commands(self) -> tuple[str, ...]:
        return self.orders


@dataclass(frozen=True)
class Verdict:
    state: str
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


def told(executor_events, control: Said, when: str, order: str) -> list:
    """Give an order as soon as a Progress says `when`."""
    events = []
    for event in executor_events:
        events.append(event)
        if isinstance(event, Progress) and when in event.text:
            control.orders = (order,)
    return events


def start(place: Installation, spec, key: str, control=None, measure=None):
    return RolloutExecutor(place.workplace, measure).start(spec, key, control or Said())


# --- no request is lost -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strategy",
    [
        {"rolling": {"maxSurge": 1, "maxUnavailable": 0}},
        {"rolling": {"maxSurge": 0, "maxUnavailable": 1}},
        CANARY,
        {"canary": {**CANARY["canary"], "dynamicStableScale": True}},
        {"blueGreen": {"keep": "300ms"}},
    ],
    ids=["rolling-surge", "rolling-fewer", "canary", "canary-dynamic", "blue-green"],
)
def test_no_request_is_lost_while_a_release_replaces_another(place, strategy):
    before = place.status()["release"]
    with Load(place.port) as load:
        until(lambda: load.total > 50, "traffic")
        release = place.rolled(place.spec(f"replace-{strategy}", strategy))
        until(lambda: not place.replicas(before), "the end of the old replicas")
    assert load.failures == []
    assert set(load.answers) == {before, release}
    assert place.get()[1]["X-Release"] == release
    assert place.status()["release"] == release


@pytest.mark.parametrize(
    "strategy", [{"rolling": {"maxSurge": 1, "maxUnavailable": 0}}, CANARY], ids=["rolling", "canary"]
)
def test_a_service_gets_another_name_and_no_request_is_lost(place, strategy):
    """And it comes with a second one, which the stable release has not, and goes back."""
    before = place.status()["release"]
    spec = place.spec(f"renamed-{strategy}", strategy)
    web = spec.with_["services"]["web"]
    services = {"shop": web, "api": {**web, "route": "/api", "replicas": 1}}
    with Load(place.port, clients=2) as load, Load(place.port, clients=2, path="/api/x") as below:
        until(lambda: load.total > 50 and below.total > 50, "traffic")
        renamed = place.rolled(replace(spec, with_={**spec.with_, "services": services}))
        assert place.get("/api/x")[1]["X-Release"] == renamed
        back = place.rolled(place.spec(f"named-{strategy}", strategy))
        until(lambda: not place.replicas(renamed), "the end of the renamed ones")
    for one in (load, below):
        assert one.failures == []
        assert set(one.answers) == {before, renamed, back}


def test_no_request_is_lost_by_an_abort_and_weights_are_kept(place):
    before = place.status()["release"]
    spec, control = place.spec("abort", FOR_EVER), Said()
    with Load(place.port) as load:
        events = list(start(place, spec, "abort"))
        assert isinstance(events[-1], Outcome)
        assert (events[-1].state, events[-1].data["weight"]) == ("paused", 25)
        load.answers.clear()
        until(lambda: load.total > 600, "enough traffic")
        canary = next(name for name in load.answers if name != before)
        share = load.answers[canary] / load.total
        control.orders = ("abort",)
        events = list(start(place, replace(spec, resumes=1), "abort", control))
        load.answers.clear()
        until(lambda: load.total > 50, "traffic after the abort")
    assert abs(share - 0.25) < 0.03
    assert load.failures == []
    assert events[-1].state == "failed"
    assert "aborted" in events[-1].reason
    assert set(load.answers) == {before}
    assert place.status()["weights"] == {before: 100}


def test_no_request_is_lost_by_a_change_of_the_configuration(place):
    place.place.config.mkdir(exist_ok=True)
    file = place.place.config / "shop.env"
    with Load(place.port) as load:
        until(lambda: load.total > 50, "traffic")
        digest = place.status()["config_digest"]
        old = {one["id"] for one in place.replicas()}
        file.write_text("# words for customers\nGREETING=hello there\n")
        until(lambda: not old & {one["id"] for one in place.replicas()}, "new replicas")
    assert load.failures == []
    assert "hello there" in place.get()[2]
    assert place.status()["config_digest"] != digest
    assert len(place.replicas()) == 2
    file.write_text("GREETING=hello again\nthis is no line\n")
    until(lambda: "line 2" in place.status()["config_problem"], "the complaint")
    assert "hello there" in place.get()[2], "a broken file changes nothing"
    file.unlink()
    until(lambda: "hello" not in place.get()[2], "the configuration to be gone")


def test_a_roll_back_restores_the_kept_release_and_loses_nothing(place):
    first = place.rolled(place.spec("kept", service={"env": {"GREETING": "kept"}, "replicas": 1}))
    second = place.rolled(place.spec("newer"))
    assert [one["name"] for one in releases(place.home, "staging")][:2] == [second, first]
    spec = place.spec("whatever", FOR_EVER)
    with Load(place.port) as load:
        until(lambda: load.total > 20, "traffic")
        plan = RolloutExecutor(place.workplace).plan(replace(spec, with_={"rollback_to": first}))
        outcome, _ = place.roll(replace(spec, with_={"rollback_to": first}), "back")
    assert plan.summary == f"roll back to {first} in staging"
    assert outcome.state == "succeeded"
    assert load.failures == []
    assert "kept" in place.get()[2]
    assert (place.status()["release"], len(place.replicas(first))) == (first, 1)
    assert releases(place.home, "staging")[0]["current"]
    outcome, _ = place.roll(replace(spec, with_={"release": "never-was"}), "nowhere")
    assert outcome.state == "failed"
    assert "not kept" in outcome.reason


# --- traffic ----------------------------------------------------------------------------------------------


def test_a_customer_stays_with_a_release_and_a_probe_chooses_one(place):
    before = place.status()["release"]
    spec = place.spec("sticky", FOR_EVER)
    list(start(place, spec, "sticky"))
    new = next(name for name in place.status()["weights"] if name != before)
    seen = set()
    for _ in range(8):
        _, headers, _ = place.get()
        assert "HttpOnly" in headers["Set-Cookie"]
        assert "SameSite=Lax" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].split(";")[0]
        again = {place.get(headers={"Cookie": cookie})[1]["X-Release"] for _ in range(6)}
        assert again == {headers["X-Release"]}
        seen.add(headers["X-Release"])
    assert seen == {before, new}
    for release in (before, new):
        found = {place.get(headers={"X-Burger-Release": release})[1]["X-Release"] for _ in range(8)}
        assert found == {release}
    RolloutExecutor(place.workplace).cancel(spec, "sticky")
    assert place.status()["weights"] == {before: 100}
    assert RolloutExecutor(place.workplace).probe(spec, "sticky").state == "done"


def test_a_customers_page_and_what_it_asks_for_are_of_one_release(place):
    """Each route has a balancer of its own; what one of them gave counts at all of them, whichever came first."""
    spec = place.spec("of one", FOR_EVER)
    web = spec.with_["services"]["web"]
    services = {"web": web, "api": {**web, "route": "/api", "replicas": 1}}
    spec = replace(spec, with_={**spec.with_, "services": services})
    before = place.rolled(replace(spec, with_={**spec.with_, "strategy": {"rolling": {}}}, run=spec.run + 1))
    place.runs += 1
    spec = replace(place.spec("of another", FOR_EVER), with_=spec.with_)
    list(start(place, spec, "of one"))
    seen = set()
    for first, then in 8 * [("/", "/api/x"), ("/api/x", "/")]:
        _, headers, _ = place.get(first)
        cookie = f"a=b; {headers['Set-Cookie'].split(';')[0]}"
        found = {place.get(path, headers={"Cookie": cookie})[1]["X-Release"] for path in (then, first, then)}
        assert found == {headers["X-Release"]}
        seen |= found
    assert len(seen) == 2
    assert before in seen
    RolloutExecutor(place.workplace).cancel(spec, "of one")


def test_who_may_come_in_is_decided_by_the_access_file(place):
    place.place.access.write_text(json.dumps({"allow": ["10.1.2.0/24"]}))
    ring(place.home)
    until(lambda: place.get()[0] == 403, "being kept out")
    place.place.access.write_text("{")
    until(lambda: place.get()[0] == 200, "a broken file to let this machine in")
    assert "access.json" in place.status()["access"]["problem"]
    place.place.access.unlink()
    until(lambda: not place.status()["access"]["problem"], "the file to be forgotten")
    assert place.get()[0] == 200


def test_assets_and_error_pages_come_from_the_frontend_of_their_release(tmp_path):
    with installation(tmp_path) as place:
        spec = place.spec("pages")
        web = dict(spec.with_["services"]["web"])
        services = {
            "frontend": {**web, "artifact": "front", "route": "assets", "replicas": 1},
            "web": {**web, "replicas": 1},
        }
        artifacts = {**spec.artifacts, "front": replace(place.slug("front"), name="front")}
        with_ = {**spec.with_, "services": services, "errors": "frontend"}
        release = place.rolled(replace(spec, with_=with_, artifacts=artifacts))
        environ = json.loads(place.get("/environ")[2])
        short = artifacts["front"].digest.removeprefix("sha256:")[:12]
        assert environ["STATIC_URL"] == f"/assets/{short}/"
        assert environ["RELEASE"] == release
        assert place.get(f"/assets/{short}/shop.css")[2].endswith(f" /assets/{short}/shop.css")
        os.kill(next(one["pid"] for one in place.status()["sets"][release]["web"]["replicas"]), 9)
        status, _, body = until(lambda: (found := place.get())[0] != 200 and found, "an error page")
        assert (status in (502, 503), body) == (True, "the error page")
        until(lambda: place.get()[0] == 200, "its replacement")


# --- people and machines that interfere -------------------------------------------------------------------


def test_promote_skips_a_pause_and_promote_full_all_steps(place):
    long = {"canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "1h"}}, {"setWeight": 50}]}}
    control = Said()
    events = told(start(place, place.spec("promote", long), "promote", control), control, "paused", "promote")
    assert events[-1].state == "succeeded"
    assert any(isinstance(event, Produced) for event in events)
    weights = [event.data["weight"] for event in events if isinstance(event, Progress)]
    assert {0, 25, 50, 100} >= set(weights)
    assert 50 in weights
    control = Said()
    events = told(start(place, place.spec("full", long), "full", control), control, "paused", "promote-full")
    assert events[-1].state == "succeeded"
    assert 50 not in [event.data["weight"] for event in events if isinstance(event, Progress)]


def test_a_pause_without_an_end_holds_no_worker_and_goes_on_once_for_each_resume(place):
    spec = place.spec("pauses", FOR_EVER)
    executor = RolloutExecutor(place.workplace)
    assert executor.probe(spec, "pauses").state == "never_started"
    assert list(start(place, spec, "pauses"))[-1].data["weight"] == 25
    assert executor.probe(spec, "pauses").state == "done"
    assert [event.state for event in start(place, spec, "pauses")] == ["paused"], "nobody has resumed it"
    control = Said(("promote",))
    assert list(start(place, replace(spec, resumes=1), "pauses", control))[-1].data["weight"] == 50
    assert list(start(place, replace(spec, resumes=2), "pauses", control))[-1].state == "succeeded"
    assert [e.state for e in start(place, replace(spec, resumes=2), "pauses", control)] == ["succeeded"]


def test_replicas_that_do_not_get_ready_bring_the_stable_release_back(place):
    before = place.status()["release"]
    (place.home / "secrets" / "dev").mkdir(parents=True, exist_ok=True)
    secret = place.home / "secrets" / "dev" / "crash-word"
    secret.write_text("correct-horse-battery")
    secret.chmod(0o600)
    spec = place.spec("crash", CANARY, service={"secrets": {"CRASH": "crash-word"}}, with_={"progressDeadline": "1s"})
    with Load(place.port) as load:
        outcome, events = place.roll(spec)
    assert outcome.state == "failed"
    assert "not ready within 1 s" in outcome.reason
    assert "it breaks: ***" in outcome.reason
    assert "code 3" in outcome.reason
    assert set(load.answers) == {before}
    assert load.failures == []
    assert place.status()["weights"] == {before: 100}
    texts = "".join(event.text for event in events if isinstance(event, Log))
    plan = json.dumps(RolloutExecutor(place.workplace).plan(spec).as_dict())
    files = [path.read_text() for path in place.home.rglob("*.json")]
    assert not [text for text in (texts, plan, *files) if "correct-horse-battery" in text]
    assert "crash-word of dev" in plan
    until(lambda: {one["state"] for one in place.replicas()} == {"ready"}, "the end of the failed replicas")


def test_an_unhealthy_release_never_gets_a_request(place):
    before = place.status()["release"]
    spec = place.spec(
        "sick", {"blueGreen": {}}, service={"env": {"HEALTHY": "no"}}, with_={"progressDeadline": "700ms"}
    )
    with Load(place.port) as load:
        outcome, _ = place.roll(spec)
    assert outcome.state == "failed"
    assert "/healthz answers 500" in outcome.reason
    assert set(load.answers) == {before}


def test_stopping_cancels_back_to_stable(place):
    before = place.status()["release"]
    long = {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "1h"}}]}}
    control = Said()
    events = []
    for event in start(place, place.spec("stop", long), "stop", control):
        events.append(event)
        control.stop = control.stop or (isinstance(event, Progress) and "paused" in event.text)
    assert events[-1].state == "canceled"
    assert place.status()["weights"] == {before: 100}


@pytest.mark.parametrize(("verdict", "state"), [("pass", "succeeded"), ("fail", "failed"), ("inconclusive", "paused")])
def test_a_verify_step_decides(place, verdict, state):
    before = place.status()["release"]
    steps = {"canary": {"steps": [{"setWeight": 20}, {"verify": {"soak": "1s"}}]}}
    asked = []

    def measure(**arguments):
        asked.append(arguments)
        yield Log("measuring\n")
        yield Verdict(verdict, "3 of 10 answers were wrong")

    spec = place.spec(f"verify-{verdict}", steps)
    outcome, events = place.roll(spec, measure=measure)
    assert outcome.state == state
    assert Log("measuring\n") in events
    assert asked[0]["settings"] == {"soak": "1s"}
    assert asked[0]["base_url"] == f"http://127.0.0.1:{place.port}"
    assert asked[0]["release"] == f"shop-{spec.run}-{spec.commit[:7]}"
    if verdict == "fail":
        assert "3 of 10" in outcome.reason
        assert place.status()["weights"] == {before: 100}
    if verdict == "inconclusive":
        assert "3 of 10" in outcome.reason
        outcome, _ = place.roll(replace(spec, resumes=1), measure=measure)
        assert outcome.state == "succeeded"


def test_a_step_with_budgets_is_measured_beside_the_stable_release_and_its_verdict_is_kept(place):
    before = place.status()["release"]
    step = {"soak": "1s", "budgets": {"lcp": "3s"}}
    asked = []

    def measure(**arguments):
        asked.append(arguments)
        yield Progress("10 answers", 1, 2, {"customers": {"state": "wait"}, "paths": {}})
        yield Verdict("fail", "LCP is 900 ms.", {"customers": {"state": "fail"}, "paths": {}})

    spec = place.spec("budgets", {"canary": {"steps": [{"setWeight": 20}, {"verify": step}]}})
    outcome, events = place.roll(spec, measure=measure)
    assert (outcome.state, asked[0]["settings"]) == ("failed", {**step, "beside": before})
    assert asked[0]["environment"] == spec.environment
    said = next(event.data for event in events if isinstance(event, Progress) and event.data.get("verdicts"))
    assert said["weights"][before] == 80
    assert said["verdicts"] == [{"step": 2, "state": "wait", "reason": "10 answers", "customers": {"state": "wait"}}]
    kept = {"step": 2, "state": "fail", "reason": "LCP is 900 ms.", "customers": {"state": "fail"}}
    assert outcome.data["verdicts"] == [kept]


def test_the_same_content_changes_nothing_and_more_replicas_only_add(place):
    first = place.rolled(place.spec("same"))
    old = {one["id"] for one in place.replicas(first)}
    outcome, _ = place.roll(place.spec("same"))
    assert (outcome.state, outcome.data["release"]) == ("succeeded", first)
    assert "already" in outcome.reason
    assert {one["id"] for one in place.replicas(first)} == old
    place.rolled(place.spec("same", service={"replicas": 3}))
    assert {one["id"] for one in place.replicas(first)} > old
    assert len(place.replicas(first)) == 3


def test_what_was_approved_is_what_is_done(place):
    spec = place.spec("approved")
    plan = RolloutExecutor(place.workplace).plan(spec)
    assert plan.digest == RolloutExecutor(place.workplace).plan(spec).digest
    place.rolled(place.spec("in between"))
    outcome, _ = place.roll(replace(spec, approved_digest=plan.digest), "late")
    assert outcome.state == "changed"
    assert plan.summary == "roll out 1 service to staging"
    assert any(change.title == "web: digest" for change in plan.changes)


def test_a_weight_is_in_force_soon_after_it_is_set(place):
    """From the moment that the target is told to the first answer of the other release."""
    spec = place.spec("effect", {"blueGreen": {"steps": [{"pause": {}}]}})
    with Load(place.port, clients=2, pause=0.001) as load:
        assert list(start(place, spec, "effect"))[-1].state == "paused"
        began = time.monotonic()
        assert list(start(place, replace(spec, resumes=1), "effect"))[-1].state == "succeeded"
        new = place.status()["release"]
        until(lambda: load.answers[new] > 20, "answers of the new release")
    first = next(at for at, release in load.last if release == new)
    assert first - began < 2
    assert load.failures == []


def test_the_observed_file_says_what_the_page_shows(place):
    generation = place.status()["generation"]
    until(lambda: place.status()["router"]["ok"] and len(place.replicas()) == 2, "quiet")
    seen = read_json(place.place.observed)
    assert seen["generation"] == generation
    assert seen["router"] == {"ok": True, "problem": "", "restarts": 0}
    one = place.replicas()[0]
    assert {"pid", "started", "port", "ready", "restarts", "since", "error", "state"} <= set(one)
