"""What becomes of autoscalers while a rollout is at work; pure."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from pipelines.executors.base import StageSpec
from pipelines.executors.kubernetes.errors import ClusterAway
from pipelines.executors.rollout.kubernetes import autoscaling, shape
from pipelines.executors.rollout.kubernetes.settings import parse
from pipelines.executors.rollout.kubernetes.target import ClusterTarget
from pipelines.executors.rollout.target import AwayError
from tests.executors.rollout.test_shape import route, service, workload

CANARY = {"canary": {"steps": [{"setWeight": 50}, {"setWeight": 100}]}}


def scaler(name: str = "web", kind: str = "Deployment", **spec) -> dict:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": autoscaling.KIND,
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}, "maxReplicas": 6, **spec},
    }


def laid(*objects) -> shape.Layout:
    return shape.layout("r1", objects, gateway=True)


def settings(strategy):
    spec = StageSpec(
        run=1, pipeline="shop", stage="rollout", kind="rollout", owner="dev", commit="0" * 40,
        environment="staging", with_={"strategy": strategy},
    )  # fmt: skip
    return parse(spec)


def test_an_autoscaler_is_found_by_the_service_whose_release_it_names():
    layout = laid(workload(), workload(name="api"), scaler(), scaler("elsewhere"))
    (found,) = autoscaling.scalers(layout).items()
    assert found[0] == "web"
    assert found[1]["spec"]["scaleTargetRef"]["name"] == layout.workloads["web"].ref.name


@pytest.mark.parametrize(("count", "allowed"), [(0, 2), (1, 2), (4, 4), (9, 6)])
def test_a_number_is_kept_within_what_the_autoscaler_allows(count, allowed):
    assert autoscaling.within(scaler(minReplicas=2), count) == allowed


def test_a_held_autoscaler_never_takes_away_and_adds_only_where_the_set_stays_whole():
    quick = scaler(minReplicas=2, behavior={"scaleDown": {"stabilizationWindowSeconds": 5}})
    grows, stands = autoscaling.held(quick, grows=True), autoscaling.held(quick, grows=False)
    assert grows["spec"]["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 5, "selectPolicy": "Disabled"}}
    assert grows["spec"]["minReplicas"] == 2
    assert stands["spec"]["behavior"]["scaleUp"] == {"selectPolicy": "Disabled"}
    assert stands["spec"]["minReplicas"] == 1
    assert "selectPolicy" not in quick["spec"]["behavior"]["scaleDown"], "the release's own stays as it is"


@pytest.mark.parametrize(
    ("strategy", "objects", "grows"),
    [
        (CANARY, [route()], {"web"}),
        (CANARY, [], set()),
        ({"canary": {**CANARY["canary"], "dynamicStableScale": True}}, [route()], set()),
        ({"rolling": {}}, [route()], set()),
        ({"blueGreen": {}}, [], {"web"}),
    ],
)
def test_a_set_may_grow_where_it_stays_whole(strategy, objects, grows):
    stateful = [workload("StatefulSet", "db"), scaler("db", "StatefulSet")]
    layout = laid(workload(), service(), scaler(), *stateful, *objects)
    assert autoscaling.growing(layout, settings(strategy)) == grows


def test_a_plan_shows_only_what_changes_about_an_autoscaler():
    before, after = laid(workload(), scaler()), laid(workload(release="r2"), scaler(maxReplicas=9))
    (new,) = autoscaling.scalers(after).values()
    planned = autoscaling.planned(new, after, before)
    (old,) = autoscaling.scalers(before).values()
    assert planned["spec"] == {**old["spec"], "maxReplicas": 9}
    assert autoscaling.planned(new, after, None) == new


def test_a_cluster_that_goes_away_between_two_looks_is_away_and_nothing_broke():
    def grown():
        raise ClusterAway("The cluster main does not answer.")

    place = SimpleNamespace(grown=grown, new=SimpleNamespace(workloads={}))
    target = ClusterTarget(
        environment="production", pipeline="demo", key="k", release=None, places={"main/shop": place}, records=None,
        changed=threading.Event(), deadline=60,
    )  # fmt: skip
    with pytest.raises(AwayError, match="does not answer"):
        target.fit(SimpleNamespace(old={}, new={}))
