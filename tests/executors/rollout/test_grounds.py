"""Which target an environment is on."""

from __future__ import annotations

import pytest

from pipelines.executors import rollout
from pipelines.executors.base import EngineAwayError, PlanError, StageSpec, Workplace
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.rollout.grounds import find
from pipelines.executors.rollout.kubernetes.ground import Clusters

CONNECTIONS = """
clusters: {main: {kubeconfig: nowhere}}
environments:
  production: {url: "https://burgers.example/", places: [{cluster: main, namespace: shop}]}
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "connections.yaml").write_text(CONNECTIONS)
    (tmp_path / "nowhere").write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "
        'clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}], users: [{name: u, user: {}}]}'
    )
    return Workplace(tmp_path, environment_ports={"staging": 8401})


def spec(environment: str | None, **with_) -> StageSpec:
    return StageSpec(
        run=1, pipeline="shop", stage="roll", kind="rollout", owner="ops", commit="c" * 40,
        environment=environment, with_=with_,
    )  # fmt: skip


def test_connections_decide(place):
    assert isinstance(find(place, spec("production")), Clusters)
    assert isinstance(find(place, spec("production", target="kubernetes")), Clusters)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (spec("production", target="local"), "is on clusters"),
        (spec("staging", target="kubernetes"), "does not say on which clusters"),
        (spec(None), "needs an `environment`"),
        (spec("production", services={"web": {}}), "unknown key 'services'"),
        (spec("production", replicas={"web": "many"}), "with.replicas.web"),
    ],
)
def test_what_does_not_fit_is_refused(place, given, expected):
    with pytest.raises(PlanError, match=expected):
        find(place, given)


def test_customers_reach_it_where_the_connections_say(place):
    assert rollout.address(place.home, "production", {}) == "https://burgers.example"
    assert rollout.address(place.home, "staging", place.environment_ports) == "http://127.0.0.1:8401"
    assert rollout.address(place.home, "nowhere", {}) == ""


def test_a_cluster_that_does_not_answer_is_no_failure_of_the_release(place, monkeypatch):
    monkeypatch.setattr("pipelines.executors.kubernetes.client.Backoff.__init__", impatient)
    executor = RolloutExecutor(place)
    with pytest.raises(EngineAwayError, match="does not answer"):
        executor.plan(spec("production"))
    assert executor.probe(spec("production"), "key").state == "away"
    *_, last = executor.start(spec("production"), "key", Control())
    assert last.state == "engine"
    with pytest.raises(OSError, match="does not answer"):
        rollout.status(place.home, "production")


class Control:
    def stopping(self) -> bool:
        return False

    def commands(self) -> tuple[str, ...]:
        return ()


def impatient(self, patience, stopping):
    """As `Backoff`, with no patience."""
    self._until, self._stopping, self._next = 0.0, stopping, 0.05
