"""The page of the registries and its addresses, at a real registry: what may go is shown, and exactly that deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from pipelines.executors.oci import RegistryError
from tests.api.conftest import speak  # noqa: F401 - a fixture
from tests.engines.test_registry_cleaning import Shop, running, shop  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db

SignIn = Callable[[str], Client]
WHICH = {"pipeline": "demo", "stage": "publish"}


def plan_of(page: str) -> str:
    found = re.search(r'name="plan" value="(sha256:[0-9a-f]{64})"', page)
    assert found, page
    return found[1]


def test_what_may_go_is_shown_to_a_lead_and_deleted_as_shown(shop: Shop, sign_in: SignIn) -> None:  # noqa: F811
    unused, _ = shop.publish("unused")
    used, run = shop.publish("used")
    shop.roll_out("r-1", run)
    client = sign_in("dora")
    listed = client.get("/registries").content.decode()
    assert shop.running.address in listed
    assert "What may be deleted?" in listed
    page = client.get("/registries", WHICH).content.decode()
    assert f"1 image of {shop.running.address} is needed by nothing any more" in page
    assert page.index(unused.partition("@")[2]) < page.index("1 image, and why") < page.index(used.partition("@")[2])
    assert "release r-1 of demo/production" in page
    assert shop.there() == {unused, used}

    refused = client.post("/registries/clean", {**WHICH, "plan": plan_of(page), "reason": " "})
    assert (refused.status_code, "Say why you delete" in refused.content.decode()) == (409, True)
    stale = client.post("/registries/clean", {**WHICH, "plan": "sha256:" + "0" * 64, "reason": "space"})
    assert (stale.status_code, "Look at it again" in stale.content.decode()) == (409, True)
    done = client.post("/registries/clean", {**WHICH, "plan": plan_of(page), "reason": "space"}, follow=True)
    assert "1 image is deleted" in done.content.decode()
    assert "Nothing may be deleted at" in done.content.decode()
    assert shop.there() == {used}


def test_only_leads_of_the_team_that_publishes_see_a_plan(shop: Shop, sign_in: SignIn) -> None:  # noqa: F811
    shop.publish("unused")
    for name in ("ann", "victor"):
        client = sign_in(name)
        assert "Only a lead of dev, which publishes there" in client.get("/registries").content.decode()
        page = client.get("/registries", WHICH)
        assert (page.status_code, "Only a lead of dev" in page.content.decode()) == (403, True)
        assert client.post("/registries/clean", {**WHICH, "plan": "sha256:0", "reason": "x"}).status_code == 403
    assert len(shop.there()) == 1


def test_a_stage_that_publishes_nowhere_and_a_registry_that_is_away_are_said(
    shop: Shop,  # noqa: F811
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = sign_in("dora")
    assert "No run has published images yet" in client.get("/registries").content.decode()
    absent = client.get("/registries", {"pipeline": "demo", "stage": "elsewhere"})
    assert (absent.status_code, "has a stage &#x27;elsewhere&#x27; that publishes" in absent.content.decode()) == (
        409,
        True,
    )
    assert client.get("/registries", {"stage": "x"}).status_code == 404
    shop.publish("unused")

    def away(*_: Any) -> None:
        raise RegistryError("the registry does not answer")

    monkeypatch.setattr("pipelines.executors.oci.RegistryClient.tags", away)
    page = client.get("/registries", WHICH)
    assert (page.status_code, "the registry does not answer" in page.content.decode()) == (409, True)


def test_the_api_does_the_same(shop: Shop, cast: SimpleNamespace, speak: Callable[..., Any]) -> None:  # noqa: F811
    unused, _ = shop.publish("unused")
    client = speak(cast.dora)
    (row,) = client.get("/api/registries").json()["registries"]
    assert (row["pipeline"], row["stage"], row["owner"], row["registry"]) == (
        "demo",
        "publish",
        "dev",
        shop.running.address,
    )
    plan = client.post("/api/registries/plan", {"pipeline": "demo"}, format="json").json()
    assert [image["name"] for image in plan["delete"]] == [unused]
    younger = client.post("/api/registries/plan", {"pipeline": "demo", "days": 1000}, format="json").json()
    assert younger["delete"] == []
    assert speak(cast.ann).post("/api/registries/plan", {"pipeline": "demo"}, format="json").status_code == 403
    body = {"pipeline": "demo", "plan": younger["digest"], "reason": "space"}
    assert client.post("/api/registries/clean", body, format="json").status_code == 409
    done = client.post("/api/registries/clean", {**body, "plan": plan["digest"]}, format="json").json()
    assert done == {"deleted": [unused], "problem": ""}
    assert shop.there() == set()
