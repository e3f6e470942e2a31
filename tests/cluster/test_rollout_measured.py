"""What pods of a cluster report decides about a canary there: they are told by their manifests where to report, and by
which token they are believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.executors.base import Outcome
from pipelines.executors.verify import customers
from pipelines.performance import tokens
from pipelines.performance.collect import Collector
from tests.cluster.rollout_helpers import Installation, Load, installation, service, workload
from tests.engines.measured_site import door, reading

pytestmark = [pytest.mark.cluster, pytest.mark.django_db]

STEPS = [
    {"setWeight": 50},
    {
        "verify": {
            "paths": ["/"], "soak": "3s", "interval": "100ms", "minimum_samples": 2, "error_rate": 0.9, "within": "2m",
            "budgets": {"latency": {"limit": "2s", "tolerance": 3}, "errors": {"limit": "2%", "tolerance": 2}},
        }
    },
]  # fmt: skip
TOLD = [
    {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "measuring"},
        "data": {"MEASURE_URL": "${collector}"},
    },
    {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "measuring"},
        "stringData": {"MEASURE_TOKEN": "${secret:burger:measure-token}"},
    },
]  # fmt: skip


@pytest.fixture
def place(cluster: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    if cluster.host is None:
        pytest.skip("this cluster does not tell how its pods reach this machine")
    monkeypatch.setattr(customers, "LOOK_EVERY", 0.5)
    monkeypatch.setattr(Collector, "_wake", lambda _: None)
    with installation(cluster, tmp_path) as made:
        collector = Collector(lambda: tokens.key(made.home))
        made.measured = reading(collector)
        with door(collector, cluster.host) as address:
            made.connect("http://not.yet", collector=address)
            made.rolled(made.spec("a", objects()))
            made.connect(f"http://{made.service_address()}", collector=address)
            yield made


def objects(**env: str) -> list[dict[str, Any]]:
    pods = workload(replicas=2, **env)
    (server,) = pods["spec"]["template"]["spec"]["containers"]
    server["envFrom"] = [{"configMapRef": {"name": "measuring"}}, {"secretRef": {"name": "measuring"}}]
    return [*TOLD, pods, service()]


def judged(place: Installation, **env: str) -> tuple[Outcome, dict[str, Any]]:
    """The end of a canary while customers ask all the time, and what was found by metric."""
    with Load(place.service_address(), clients=6) as load:
        outcome, _ = place.roll(place.spec("b", objects(**env), {"canary": {"steps": STEPS}}))
    assert env.get("WRONG") or load.failures == []
    (verdict,) = outcome.data["verdicts"]
    return outcome, {finding["metric"]: finding for finding in verdict["customers"]["findings"]}


def test_what_pods_report_decides_about_a_canary(place: Installation) -> None:
    first = place.status()["release"]
    outcome, found = judged(place, SLOWER="150ms")
    assert (outcome.state, found["latency"]["state"]) == ("failed", "beyond"), outcome.reason
    assert found["latency"]["value"] > 150 > found["latency"]["baseline"]
    assert place.releases_of_pods() == {first: 2}

    outcome, found = judged(place, WRONG="0.3")
    assert (outcome.state, found["errors"]["state"]) == ("failed", "beyond"), outcome.reason
    assert place.releases_of_pods() == {first: 2}

    outcome, found = judged(place)
    assert outcome.state == "succeeded", outcome.reason
    assert {finding["state"] for finding in found.values()} == {"inside"}
    assert place.releases_of_pods() == {str(outcome.data["release"]): 2}
