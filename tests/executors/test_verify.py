"""`verify` against real HTTP servers, with workers that die and people who decide."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.executors.base import Artifact, Outcome, Progress, StageSpec, Unattended, Workplace
from pipelines.executors.verify import Verdict, VerifyExecutor, measure

PROJECT = Path(__file__).resolve().parents[2]
QUICK = {"soak": "600ms", "interval": "10ms", "minimum_samples": 10, "p95_ms": 2000}


class Site:
    """A shop whose answer a test decides: `answer` takes the handler and gives (status, headers, body)."""

    def __init__(self):
        self.answer = lambda _: (200, {}, "Burger Stack")
        self.requests = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.requests.append((self.path, self.headers.get("X-Burger-Release")))
                status, headers, body = site.answer(self)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body.encode())), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site():
    found = Site()
    yield found
    found.close()


def spec(resumes=0, approved=None, **with_):
    return StageSpec(
        run=1,
        pipeline="shop",
        stage="probe",
        kind="verify",
        owner="platform",
        commit="c" * 40,
        environment="staging",
        with_={**QUICK, **with_},
        resumes=resumes,
        approved_digest=approved,
    )


def executor(home, port):
    return VerifyExecutor(Workplace(home, environment_ports={"staging": port}))


def outcome(home, port, stage=None, key="a", control=None):
    *_, last = executor(home, port).start(stage or spec(), key, control or Unattended())
    assert isinstance(last, Outcome)
    return last


def test_a_good_site_passes_and_shows_its_numbers(tmp_path, site):
    events = list(executor(tmp_path, site.port).start(spec(paths=["/", "/healthz"]), "a", Unattended()))
    end = events[-1]
    assert (end.state, end.data["verdict"]) == ("succeeded", "pass")
    assert end.data["numbers"]["paths"]["/healthz"]["count"] >= 5
    assert {path for path, _ in site.requests} == {"/", "/healthz"}
    assert any(isinstance(event, Progress) for event in events)


def test_a_site_that_breaks_fails_before_its_soak_is_over(tmp_path, site):
    site.answer = lambda _: (503, {}, "no")
    began = time.monotonic()
    end = outcome(tmp_path, site.port, spec(soak="60s"))
    assert (end.state, "status 503" in end.reason) == ("failed", True)
    assert time.monotonic() - began < 20


def test_a_router_that_refuses_is_the_sites_fault(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        end = outcome(tmp_path, free.getsockname()[1])
    assert (end.state, "refused" in end.reason) == ("failed", True)


def test_a_page_without_its_content_fails(tmp_path, site):
    end = outcome(tmp_path, site.port, spec(expect={"/": "Burger Palace"}))
    assert (end.state, "does not hold “Burger Palace”" in end.reason) == ("failed", True)


def test_a_pattern_is_looked_for_as_a_pattern(tmp_path, site):
    assert outcome(tmp_path, site.port, spec(expect={"/": {"regex": "^Burger S.+k$"}})).state == "succeeded"


def test_a_pattern_that_takes_for_ever_ends_with_its_question(tmp_path, site):
    site.answer = lambda _: (200, {}, "a" * 80 + "!")
    end = outcome(tmp_path, site.port, spec(expect={"/": {"regex": "(a+)+$"}}, timeout="1s", minimum_samples=1))
    assert (end.state, "was looked for longer than 1 s" in end.reason) == ("failed", True)


def test_redirects_are_followed_at_home_only(tmp_path, site):
    def answer(request):
        to = {"/in": "/", "/out": "http://localhost:1/", "/loop": "/loop"}.get(request.path)
        return (302, {"Location": to}, "") if to else (200, {}, "here")

    site.answer = answer
    assert outcome(tmp_path, site.port, spec(paths=["/in"]), key="in").state == "succeeded"
    assert "another host" in outcome(tmp_path, site.port, spec(paths=["/out"]), key="out").reason
    assert "more than 5 times" in outcome(tmp_path, site.port, spec(paths=["/loop"]), key="loop").reason


def test_a_page_without_end_is_cut_off(tmp_path, site):
    site.answer = lambda _: (200, {"Content-Length": str(2**40)}, "x" * 2**21)
    assert outcome(tmp_path, site.port, spec(soak="100ms", minimum_samples=1)).state == "succeeded"


def test_an_answer_that_never_ends_is_timed_out(tmp_path, site):
    over = threading.Event()

    def answer(request):
        over.wait(10)
        return 200, {}, ""

    site.answer = answer
    try:
        end = outcome(tmp_path, site.port, spec(soak="1s", timeout="100ms", minimum_samples=2))
        assert "no answer within 0.1 s" in end.reason
    finally:
        over.set()


def test_exactly_the_release_is_measured(tmp_path, site):
    site.answer = lambda request: (200, {"X-Release": request.headers["X-Burger-Release"]}, "")
    end = outcome(tmp_path, site.port, spec(release="r2"))
    assert end.state == "succeeded"
    assert set(site.requests) == {("/", "r2")}
    assert list(end.data["numbers"]["releases"]) == ["r2"]


def test_the_release_of_this_environment_is_meant(tmp_path, site):
    found = {
        name: Artifact(name, "release", "sha256:" + "0" * 64, meta={"release": release, "environment": where})
        for name, release, where in (("old", "r1", "production"), ("new", "r2", "staging"))
    }
    # As it was published: it runs nowhere by that.
    found["publish"] = Artifact("publish", "release", "sha256:" + "1" * 64, meta={"commit": "c" * 40})
    site.answer = lambda request: (200, {"X-Release": request.headers["X-Burger-Release"]}, "")
    assert outcome(tmp_path, site.port, replace(spec(), artifacts=found)).state == "succeeded"
    assert set(site.requests) == {("/", "r2")}


def test_answers_of_another_release_leave_it_to_a_person(tmp_path, site):
    site.answer = lambda _: (200, {"X-Release": "r1"}, "")
    end = outcome(tmp_path, site.port, spec(release="r2"))
    assert (end.state, "release r1 answered instead of r2" in end.reason) == ("paused", True)


def test_too_few_samples_wait_for_a_person_who_may_accept_them(tmp_path, site):
    few = {"minimum_samples": 100_000, "soak": "100ms"}
    first = outcome(tmp_path, site.port, spec(**few))
    assert (first.state, "too few" in first.reason) == ("paused", True)
    measured = len(site.requests)
    assert outcome(tmp_path, site.port, spec(**few)) == first
    accepted = outcome(tmp_path, site.port, spec(resumes=1, **few))
    assert (accepted.state, "Accepted by a person" in accepted.reason) == ("succeeded", True)
    assert len(site.requests) == measured


def test_a_failure_cannot_be_resumed_into_a_success(tmp_path, site):
    site.answer = lambda _: (500, {}, "")
    assert outcome(tmp_path, site.port).state == "failed"
    assert outcome(tmp_path, site.port, spec(resumes=1)).state == "failed"


def test_the_baseline_is_measured_beside_the_release(tmp_path, site):
    def answer(request):
        asked = request.headers["X-Burger-Release"]
        return (200 if asked == "r1" or len(site.requests) % 5 else 500), {"X-Release": asked}, ""

    site.answer = answer
    end = outcome(tmp_path, site.port, spec(release="r2", compare="r1", error_rate=1))
    assert end.data["numbers"]["baseline"]["errors"] == 0
    assert end.data["numbers"]["baseline"]["count"] >= 10


def test_a_soak_survives_the_death_of_its_worker(tmp_path, site):
    """What was soaked counts, and the samples of the dead worker are used."""
    stage = "soak='3s', interval='20ms', minimum_samples=10, p95_ms=2000"
    code = (
        "from pathlib import Path\n"
        "from pipelines.executors.base import Unattended\n"
        "from pipelines.executors.verify import measure\n"
        f"for _ in measure(base_url='http://127.0.0.1:{site.port}', release=None, settings=dict({stage}),"
        f" control=Unattended(), folder=Path({str(tmp_path / 'work' / 'a')!r})): pass\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    samples = tmp_path / "work" / "a" / "samples.jsonl"
    deadline = time.monotonic() + 30
    while not (samples.exists() and samples.stat().st_size > 3000):
        assert time.monotonic() < deadline
        assert worker.poll() is None
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    before = len(samples.read_text().splitlines())
    verify = executor(tmp_path, site.port)
    assert verify.probe(spec(), "a").state == "never_started"
    site.answer = lambda _: (200, {"X-Release": "second"}, "")
    end = outcome(tmp_path, site.port, spec(soak="3s", interval="20ms"))
    assert end.state == "succeeded"
    found = end.data["numbers"]
    assert found["total"]["count"] == found["releases"]["second"] + before
    assert verify.probe(spec(), "a").state == "done"


def test_cancel_ends_the_soak_and_says_when(tmp_path, site):
    verify, ends = executor(tmp_path, site.port), []
    thread = threading.Thread(target=lambda: ends.append(outcome(tmp_path, site.port, spec(soak="60s"))))
    thread.start()
    deadline = time.monotonic() + 20
    while not site.requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert verify.probe(spec(), "a").state == "running"
    verify.cancel(spec(), "a")
    seen = len(site.requests)
    thread.join(20)
    assert [end.state for end in ends] == ["canceled"]
    assert len(site.requests) == seen


def test_control_can_stop_a_measurement(tmp_path, site):
    control = Unattended(stop=lambda: len(site.requests) >= 3)
    end = outcome(tmp_path, site.port, spec(soak="60s"), control=control)
    assert end.state == "canceled"


def test_a_canary_gets_its_verdict_from_the_same_measurement(tmp_path, site):
    *_, verdict = measure(
        base_url=f"http://127.0.0.1:{site.port}",
        release=None,
        settings=QUICK,
        control=Unattended(),
        folder=tmp_path / "step-1",
    )
    assert isinstance(verdict, Verdict)
    assert verdict.state == "pass"


def test_the_plan_is_stable_and_only_what_was_approved_is_measured(tmp_path, site):
    verify = executor(tmp_path, site.port)
    plan = verify.plan(spec())
    assert plan.digest == verify.plan(spec()).digest != verify.plan(spec(p95_ms=1)).digest
    assert plan.summary == "probe / on staging for 0.6 s"
    assert outcome(tmp_path, site.port, spec(approved="sha256:" + "0" * 64)).state == "changed"
    assert not site.requests


@pytest.mark.parametrize(
    ("stage", "words"), [(spec(sook="1s"), "Unknown settings sook"), (spec(paths=["menu"]), "is no path")]
)
def test_settings_that_cannot_be_used_end_in_an_error(tmp_path, stage, words):
    end = outcome(tmp_path, 1, stage)
    assert (end.state, words in end.reason) == ("error", True)


def test_an_environment_without_a_port_is_named(tmp_path):
    *_, end = VerifyExecutor(Workplace(tmp_path, environment_ports={"production": 1})).start(spec(), "a", Unattended())
    assert "'staging', which has no port here. Known: production." in end.reason
