"""From customers' requests to the end of a canary: real replicas behind the real router, each with the agent that it
would have, a collector that takes what they report, and a rollout that reads it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines import measurements
from pipelines.executors.base import Artifact, Measured, Outcome, Unattended, Workplace
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.rollout.local.control import configure
from pipelines.executors.store import Store
from pipelines.executors.verify import customers
from pipelines.performance import tokens
from pipelines.performance.collect import Collector
from tests.executors.rollout_helpers import SERVER, Installation, Load, installation

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
AGENT = """
import random
from ordering.measure.sending import Sender
from ordering.measure.tally import Tally

tally = Tally()
reporting = Sender(tally, os.environ["MEASURE_URL"], os.environ["MEASURE_TOKEN"], every=0.2)
plain = answer

def answer(path):
    reporting.ensure_running()
    if path == "/healthz":
        return plain(path)
    began = time.perf_counter()
    time.sleep(float(os.environ.get("SLOWER", "0")))
    status, body = plain(path)
    if random.random() < float(os.environ.get("WRONG", "0")):
        status = 500
    tally.request("/", status, time.perf_counter() - began)
    return status, body
"""
STEPS = [
    {"setWeight": 40},
    {
        "verify": {
            "soak": "1s", "interval": "250ms", "minimum_samples": 2, "error_rate": 0.5, "within": "60s",
            "budgets": {"latency": {"limit": "2s", "tolerance": 1.3}, "errors": {"limit": "2%", "tolerance": 2}},
        }
    },
]  # fmt: skip


@dataclass
class Site(Installation):
    """An installation whose releases measure themselves, and whose rollouts read what they measured."""

    collector: Collector | None = None

    @property
    def workplace(self) -> Workplace:
        return Workplace(self.home, environment_ports={"staging": self.port}, measured=self._measured)

    def _measured(self, environment: str) -> Measured:
        def now(read: Callable[[], Any]) -> Any:
            assert self.collector is not None
            self.collector.flush()
            return read()

        return measurements.of(environment, now)

    def slug(self, version: str) -> Artifact:
        tree = self.home.parent / f"tree-{version}"
        agent = tree / "ordering" / "measure"
        agent.mkdir(parents=True, exist_ok=True)
        (tree / "ordering" / "__init__.py").touch()
        for name in ("__init__.py", "tally.py", "sending.py"):
            shutil.copy(ROOT / "ordering" / "measure" / name, agent / name)
        (tree / "serve.py").write_text(SERVER.replace("def end(*_):", f"{AGENT}\ndef end(*_):"))
        (tree / "version").write_text(version)
        digest, size = Store(self.home).pack(tree)
        return Artifact("web", "slug", digest, size)


@pytest.fixture
def collector(db: None, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """One that writes when it is told to, in the test's own transaction."""
    monkeypatch.setattr(Collector, "_wake", lambda _: None)
    return Collector(lambda: b"")


@pytest.fixture
def site(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(customers, "LOOK_EVERY", 0.5)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken = collector.report(self.headers["Authorization"].removeprefix("Bearer "), body)
            self.send_response(204 if taken else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with installation(tmp_path) as made:
            key = tokens.key(made.home)
            monkeypatch.setattr(collector, "_secret", lambda: key)
            address = f"http://127.0.0.1:{server.server_address[1]}"
            configure(made.home, {"staging": made.port}, None, {"collector": address})
            yield Site(made.home, made.port, collector=collector)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rolled(site: Site, version: str, **env: str) -> Outcome:
    """The end of a canary while customers ask all the time."""
    spec = site.spec(version, {"canary": {"steps": STEPS}}, service={"env": env})
    with Load(site.port, clients=8) as load:
        *_, outcome = RolloutExecutor(site.workplace).start(spec, f"run-{spec.run}", Unattended())
    assert isinstance(outcome, Outcome)
    assert env.get("WRONG") or not load.failures
    return outcome


def test_customers_decide_what_becomes_of_a_canary(site: Site) -> None:
    first = site.rolled(site.spec("first"))

    good = rolled(site, "good")
    assert good.state == "succeeded", good.reason
    (told,) = good.data["verdicts"]
    assert (told["state"], told["customers"]["beside"]) == ("pass", first)
    assert {f["metric"]: f["state"] for f in told["customers"]["findings"]} == {"latency": "inside", "errors": "inside"}
    second = site.status()["release"]

    slow = rolled(site, "slow", SLOWER="0.3")
    assert (slow.state, "latency 3" in slow.reason) == ("failed", True), slow.reason
    assert site.status()["weights"] == {second: 100}
    (told,) = slow.data["verdicts"]
    found = {finding["metric"]: finding for finding in told["customers"]["findings"]}
    assert found["latency"]["state"] == "beyond"
    assert found["latency"]["at_least"] > found["latency"]["tolerance"]
    assert min(found["latency"]["count"], found["latency"]["baseline_count"]) >= 100

    broken = rolled(site, "broken", WRONG="0.3")
    assert (broken.state, "errors" in broken.reason) == ("failed", True), broken.reason
    assert site.status()["weights"] == {second: 100}
