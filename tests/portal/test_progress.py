"""What the panel of a stage shows of its work, kind by kind, while it goes on and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from pipelines.models import Attempt, Run, Stage
from pipelines.states import State

pytestmark = pytest.mark.django_db

DIGEST = "sha256:" + "0b" * 32
OLD, NEW = "demo-4-43e443e", "demo-6-76cb5ac"


@pytest.fixture
def panel(waiting: Run, sign_in: Callable[[str], Client]) -> Callable[..., str]:
    """The head of a stage of some kind that told this much."""

    def show(kind: str, state: State, data: dict[str, Any], **fields: Any) -> str:
        stage = Stage.objects.get(run=waiting, name="build")
        ended: dict[str, Any] = fields.pop("ended_with", {})
        Attempt.objects.filter(stage=stage).update(data=ended)
        progress = {"text": "so far", "done": 1, "total": 2, "data": data}
        Stage.objects.filter(pk=stage.pk).update(kind=kind, state=state, progress=progress, **fields)
        return sign_in("ann").get(f"/runs/demo/{waiting.number}/stages/build/head").content.decode()

    return show


def test_a_build_tells_its_steps_while_it_runs(panel: Callable[..., str]) -> None:
    steps = [
        {"what": "COPY . /app", "stage": "", "state": "cached", "seconds": 0.0},
        {"what": "RUN pip install <all>", "stage": "packages", "state": "done", "seconds": 14.24},
        {"what": "RUN make", "stage": "packages", "state": "running", "seconds": 0.0},
    ]
    page = panel("build", State.RUNNING, {"cached": 1, "steps": steps})
    assert "so far" in page
    assert "RUN pip install &lt;all&gt;" in page
    assert "14.2 s" in page
    assert "from the cache" in page


@pytest.mark.parametrize(
    ("before", "words"),
    [(0, ""), (83_900_000, "as in the last release"), (80_000_000, "3.9 MB larger"), (90_000_000, "6.1 MB smaller")],
)
def test_a_build_tells_size_layers_and_time(panel: Callable[..., str], before: int, words: str) -> None:
    layers = [{"size": 33_900_000, "made_by": "COPY /rootfs /"}, {"size": 50_000_000, "made_by": "RUN pip"}]
    meta = {"component": "shop", "builder": "BuildKit", "layers": layers, "seconds": 2.32, "steps": 11, "cached": 9}
    image = {"name": "build", "kind": "image", "digest": DIGEST, "size": 83_900_000, "meta": meta}
    ended = {"before": before} if before else {}
    page = panel("build", State.SUCCEEDED, {}, artifacts=[image], reason="a long sentence", ended_with=ended)
    for said in ("83.9 MB", "2.3 s", "9 from the cache", "33.9 MB", "COPY /rootfs /", words):
        assert said in page
    assert "long sentence" not in page


def test_a_publish_tells_each_layer(panel: Callable[..., str]) -> None:
    layers = [
        {"id": "5f70bf18a086", "state": "there", "sent": 0, "size": 0},
        {"id": "ea6d3dd83059", "state": "pushing", "sent": 20_100_000, "size": 43_700_000},
    ]
    pushed = {"component": "agent", "digest": DIGEST, "layers": layers[:1]}
    page = panel("publish", State.RUNNING, {"images": [pushed, {"component": "shop", "digest": "", "layers": layers}]})
    for said in ("agent", "1 of 1 layers", "shop", "1 of 2 layers", "20.1 MB sent", "of 43.7 MB", DIGEST):
        assert said in page


def test_a_publish_of_before_tells_its_images(panel: Callable[..., str]) -> None:
    release = {"kind": "release", "meta": {"images": {"shop": f"registry:5000/burger/shop@{DIGEST}"}}}
    page = panel("publish", State.SUCCEEDED, {"component": "shop", "layers": []}, artifacts=[release])
    assert DIGEST in page
    assert "layers" not in page


def rollout(**changes: Any) -> dict[str, Any]:
    return {
        "release": NEW, "stable": OLD, "canary": NEW, "weight": 25, "weights": {OLD: 75, NEW: 25},
        "step": 1, "steps": 4, "doing": "25 % of the traffic",
        "ready": {OLD: {"main/north/web": 2}, NEW: {"main/north/web": 0}},
        "running": {OLD: {"main/north/web": 2}, NEW: {"main/north/web": 1}},
        "wanted": {OLD: {"main/north/web": 2}, NEW: {"main/north/web": 2}},
        "troubles": [f"web-x: its image registry/web@{DIGEST} cannot be pulled: 401"],
    } | changes  # fmt: skip


def test_a_rollout_tells_weights_places_and_why_pods_fail(panel: Callable[..., str]) -> None:
    page = panel("rollout", State.RUNNING, rollout())
    for said in ("25 %", "main/north", "0 of 2", "1 coming", "registry/web@0b0b0b0b0b0b cannot be pulled: 401"):
        assert said in page
    ready = rollout(ready={NEW: {"main/north/web": 1}})
    assert "cannot be pulled" not in panel("rollout", State.RUNNING, ready)


def test_a_rollout_of_before_tells_what_it_told(panel: Callable[..., str]) -> None:
    facts = rollout(ready={NEW: {"web": 2}})
    for name in ("running", "wanted", "troubles"):
        del facts[name]
    page = panel("rollout", State.FAILED, facts, reason="not ready within 60 s:\nweb-x: crashed\nweb-y: crashed")
    assert "web-x: crashed<br>web-y: crashed" in page


def test_a_play_tells_each_host_those_with_trouble_first(panel: Callable[..., str]) -> None:
    fine = {"ok": 7, "changed": 2, "failed": 0, "unreachable": 0, "skipped": 1}
    hosts = {"main/a": fine, "main/b": fine | {"unreachable": 1}} | {f"main/c{n}": fine for n in range(60)}
    warned = {"main/a": "policies have no effect here", "main/b": "policies have no effect here"}
    page = panel(
        "ansible", State.FAILED, {"hosts": hosts}, ended_with={"warnings": warned},
        reason="2 changes. Warning: main/a: policies have no effect here",
    )  # fmt: skip
    assert page.index("main/b") < page.index("main/a")
    assert page.count("policies have no effect here") == 1
    assert "and 22 more hosts" in page
    assert "unreachable" in page


@pytest.mark.parametrize("kind", ["build", "publish", "rollout", "ansible", "run"])
def test_a_stage_that_told_nothing_has_no_piece(panel: Callable[..., str], kind: str) -> None:
    assert 'class="piece"' not in panel(kind, State.RUNNING, {})
