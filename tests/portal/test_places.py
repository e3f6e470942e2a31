"""Environments on clusters: what their pages show of places, and that no cluster holds a page up."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import Client
from rich.console import Console

from pipelines import places
from pipelines.engines import environments as live
from pipelines.executors import rollout
from pipelines.models import Environment, Run
from portal.cli.show import environment_view
from portal.templatetags.portal import with_times
from tests.api.conftest import speak  # noqa: F401 - a fixture

OLD, NEW = "demo-4-43e443e", "demo-6-76cb5ac"
DIGEST = "sha256:" + "0b" * 32
SignIn = Callable[[str], Client]


def service(ready: int, wanted: int, *errors: str) -> dict[str, Any]:
    return {"digest": DIGEST, "wanted": wanted, "ready": ready, "replicas": [{"error": error} for error in errors]}


def status(**changes: Any) -> dict[str, Any]:
    """A canary in two places, of which one does not answer."""
    return {
        "environment": "production", "release": OLD, "commit": "c" * 40, "run": None, "since": 1.0, "rollout": "x",
        "weights": {OLD: 75, NEW: 25}, "router": {"ok": True}, "problem": "", "held": "", "drift": [],
        "sets": {
            OLD: {"main/north/backend": service(2, 2)},
            NEW: {"main/north/backend": service(0, 1, "backend-x: its image cannot be pulled: 401")},
            "": {"main/north/database": service(1, 1)},
        },
        "places": ["main/north", "west/south"], "away": {"west/south": "The cluster west does not answer."},
    } | changes  # fmt: skip


def test_each_place_has_its_services_and_what_keeps_them():
    north, south = places.of(status())
    assert [(line.service, line.release, line.is_new, line.ready, line.wanted) for line in north.lines] == [
        ("backend", OLD, False, 2, 2), ("backend", NEW, True, 0, 1), ("database", "", False, 1, 1),
    ]  # fmt: skip
    assert (north.ready, north.wanted, north.is_ready) == (3, 4, False)
    assert north.told == ["backend-x: its image cannot be pulled: 401"]
    assert (south.cluster, south.namespace, south.away) == ("west", "south", "The cluster west does not answer.")


def test_of_one_place_services_are_called_by_their_names():
    alone = status(places=["main/north"], away={}, sets={OLD: {"backend": service(2, 2)}})
    (north,) = places.of(alone)
    assert [line.service for line in north.lines] == ["backend"]
    here = status(sets={OLD: {"web": service(1, 1)}})
    del here["places"], here["away"]
    assert [(place.name, len(place.lines)) for place in places.of(here)] == [("", 1)]


@pytest.fixture
def production(waiting: Run) -> Environment:
    return waiting.pipeline.environments.get()


@pytest.mark.django_db
def test_the_pages_show_places_weights_and_those_that_are_away(
    production: Environment, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "status", lambda *_: status())
    monkeypatch.setattr(rollout, "releases", lambda *_: [{"name": OLD}])
    for address in ("/environments", "/environments/demo/production", "/environments/demo/production/now"):
        page = sign_in("olga").get(address).content.decode()
        assert '<b class="figures">25 %</b> ' + NEW in page
        assert "3 of 4" in page
        assert "does not answer" in page
    page = sign_in("olga").get("/environments/demo/production").content.decode()
    assert "The cluster west does not answer." in page
    assert "its image cannot be pulled" in page
    assert "only replaced when changed" in page


@pytest.mark.django_db
def test_drift_and_a_rollback_that_holds_are_said(
    production: Environment, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift = "Deployment/backend in main/north: kubectl-edit at 2026-01-02T03:04:05Z changed .spec.replicas to 3; <b>."
    monkeypatch.setattr(rollout, "status", lambda *_: status(drift=[drift], held=OLD))
    monkeypatch.setattr(rollout, "releases", lambda *_: [])
    page = sign_in("olga").get("/environments/demo/production").content.decode()
    assert "Somebody else changed 1 thing here" in page
    assert 'kubectl-edit <time datetime="2026-01-02T03:04:05+00:00"' in page
    assert "&lt;b&gt;." in page
    assert f"Rolled back to <b>{OLD}</b>, which holds" in page


def test_text_without_moments_is_left_as_it_is():
    assert with_times("a <b> at noon") == "a &lt;b&gt; at noon"


@contextmanager
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Environments that are asked and do not answer."""
    asked: list[str] = []
    answer = threading.Event()

    def never(_home: Any, name: str) -> dict[str, Any]:
        asked.append(name)
        answer.wait(30)
        return status(environment=name)

    monkeypatch.setattr(rollout, "status", never)
    monkeypatch.setattr(rollout, "releases", lambda home, name: [never(home, name)])
    monkeypatch.setattr(live, "PATIENCE", 0.3)
    try:
        yield asked
    finally:
        answer.set()


@pytest.mark.django_db
def test_a_cluster_that_does_not_answer_does_not_hold_the_page_up(
    production: Environment, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.releases.create(name=OLD, commit="c" * 40)
    client = sign_in("olga")
    with silent(monkeypatch) as asked:
        for _ in range(2):
            began = time.monotonic()
            page = client.get("/environments/demo/production").content.decode()
            assert time.monotonic() - began < 5
            assert "was not answered within 0.3 s" in page
            assert "Last known:" in page
            assert "no way back while it does not answer" in page
        # Whoever looks again does not ask again.
        assert asked == ["production", "production"]


def test_several_are_asked_at_once(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4, timeout=20)

    def slow(_home: Any, name: str) -> dict[str, Any]:
        together.wait()  # passes when four are being asked at the same moment
        return status(environment=name)

    monkeypatch.setattr(rollout, "status", slow)
    monkeypatch.setattr(live, "PATIENCE", 20.0)
    found = live.statuses(["a", "b", "c", "d"])
    assert [one["environment"] for one in found.values()] == ["a", "b", "c", "d"]


def test_what_breaks_is_said(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Any:
        raise OSError("main: get version: Unauthorized.")

    monkeypatch.setattr(rollout, "status", refuses)
    monkeypatch.setattr(rollout, "releases", refuses)
    found, kept = live.standing("production")
    assert found["problem"] == "What runs in production cannot be read: main: get version: Unauthorized."
    assert kept is None


@pytest.mark.django_db
def test_programs_and_terminals_are_told_the_same(
    production: Environment,
    speak: Any,  # noqa: F811
    cast: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drift = ["Service/shop in main/north is gone: deleted by somebody."]
    monkeypatch.setattr(rollout, "status", lambda *_: status(drift=drift, held=OLD))
    answer = speak(cast.olga).get("/api/environments/demo/production").json()
    assert [(place["place"], bool(place["away"])) for place in answer["live"]["places"]] == [
        ("main/north", False), ("west/south", True),
    ]  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=160).print(environment_view(answer))
    for said in (f"75 % {OLD}, 25 % {NEW}", "‖ 0 of 1", "✓ 2 of 2", "only replaced when changed", *drift,
                 "The cluster west does not answer.", "its image cannot be pulled: 401", "which holds"):  # fmt: skip
        assert said in text.getvalue()
