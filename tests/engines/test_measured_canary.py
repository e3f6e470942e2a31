"""From customers' requests to the end of a canary: real replicas behind the real router, each with the agent that it
would have, a collector that takes what they report, and a rollout that reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.executors.base import Outcome, Unattended
from pipelines.executors.rollout.executor import RolloutExecutor
from tests.engines.measured_site import Site
from tests.executors.rollout_helpers import SERVER, Load

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


def measuring(tree: Path, version: str) -> None:
    agent = tree / "ordering" / "measure"
    agent.mkdir(parents=True)
    (tree / "ordering" / "__init__.py").touch()
    for name in ("__init__.py", "tally.py", "sending.py"):
        shutil.copy(ROOT / "ordering" / "measure" / name, agent / name)
    (tree / "serve.py").write_text(SERVER.replace("def end(*_):", f"{AGENT}\ndef end(*_):"))
    (tree / "version").write_text(version)


@pytest.fixture
def site(site: Site) -> Site:
    site.fill = measuring
    return site


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
