"""How an environment does, on a page and by the API: what is shown, and that it costs the same with much history."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from pipelines.models import Attempt, Beat, Environment, Run, Stage
from pipelines.performance.budgets import parse
from pipelines.performance.selectors import floor
from pipelines.performance.verdict import Reading, assess
from pipelines.performance.watch import REASONS
from pipelines.states import State
from tests.pipelines.performance.test_verdict import lcp
from tests.portal.measured import dropped, probed, released, visited

pytestmark = pytest.mark.django_db

PAGE = "/environments/demo/production/performance"
BUDGETS = {"lcp": {"limit": "2500ms", "tolerance": 1.1}}


@pytest.fixture
def environment(waiting: Run) -> Environment:
    return Environment.objects.get(pipeline=waiting.pipeline, name="production")


@pytest.fixture
def two(environment: Environment, waiting: Run) -> Environment:
    """An old release, and a new one that takes twice as long, since an hour."""
    now = timezone.now()
    came = now - timedelta(hours=1)
    released(environment, "shop-1", now - timedelta(hours=9))
    released(environment, "shop-2", came, waiting)
    visited("production", "shop-1", now - timedelta(hours=3), came)
    visited("production", "shop-2", came, now, slower=2.0, seed=2)
    return environment


def test_an_empty_page_says_what_brings_measurements(environment, sign_in):
    page = sign_in("olga").get(PAGE)
    assert page.status_code == 200
    assert b"Nobody measured anything of production" in page.content


def test_each_metric_has_its_band_its_chart_and_its_table(two, sign_in):
    page = sign_in("ann").get(PAGE).content.decode()
    for said in (
        "Largest contentful paint",
        "needs work",
        "good",
        "shop-1",
        "shop-2",
        "As a table",
        "Orders a session",
    ):
        assert said in page
    assert page.count('<svg class="drawing"') == 8
    assert f'href="{reverse("portal:release", args=["demo", "production", "shop-2"])}"' in page


@pytest.mark.parametrize(
    ("asked", "there", "gone"),
    [
        ({"by": "route"}, "checkout", "shop-1 "),
        ({"by": "device", "for": "24h"}, "phone", "Time the server takes"),
        ({"route": "checkout"}, "<option selected>checkout", "nothing"),
        ({"device": "phone"}, "Largest contentful paint", "Orders a session"),
        ({"for": "nonsense", "by": "user"}, "6 hours", "user"),
        ({"route": "<script>"}, "Nobody measured", "<script>"),
    ],
)
def test_it_shows_what_is_asked_for(two, sign_in, asked, there, gone):
    page = sign_in("ann").get(PAGE, asked).content.decode().replace('value="user"', "")
    main = page[page.index("<main") : page.index("</main")]
    assert there in main
    if gone != "nothing":
        assert gone not in main


def test_budgets_of_the_last_release_are_drawn(two, waiting, sign_in):
    stage = Stage.objects.get(run=waiting, name="after")
    steps = [{"setWeight": 20}, {"verify": {"budgets": BUDGETS}}]
    definition = stage.definition | {"with_": {"strategy": {"canary": {"steps": steps}}}}
    Stage.objects.filter(pk=stage.pk).update(kind="rollout", definition=definition)
    page = sign_in("ann").get(PAGE).content.decode()
    assert "budget 2,500 ms" in page
    assert 'class="limit"' in page


@pytest.fixture
def night(two: Environment) -> Environment:
    """Nobody came for three hours before the first customers. The old release failed twice meanwhile, and nobody
    looked for an hour."""
    now = timezone.now()
    five = timedelta(minutes=5)
    evening = floor(now - timedelta(hours=5, minutes=30), timedelta(minutes=10))
    probed("production", "shop-1", evening, evening + timedelta(minutes=90), step=five, bad=1)
    probed("production", "shop-1", now - timedelta(hours=3), now - timedelta(hours=1), step=five)
    probed("production", "shop-2", now - timedelta(hours=1), now, step=five, path="/menu")
    visited("production", "shop-2", now - five, now, views=1)
    wrong = {"environment": "production", "release": "shop-1", "path": "/", "problem": "status 503"}
    elsewhere = wrong | {"environment": "staging", "problem": "no answer", "at": now.isoformat()}
    failures = [wrong | {"at": evening.isoformat()}, elsewhere]
    data = {"browser": "", "problem": "There is no Chromium.", "views": 2, "failures": failures}
    Beat.objects.create(name="probe", at=now, data=data)
    dropped("production", "no_room", 12, now - five)
    dropped("staging", "refused", 5, now - five)
    dropped("", "forged", 3, now - five)
    return two


def test_whether_the_site_answered_while_nobody_came_is_drawn_and_said(night, sign_in):
    page = sign_in("ann").get(PAGE).content.decode()
    watched = page[page.index('id="probes"') : page.index('id="dropped"')]
    for said in (
        "2 of 108 failed",
        "2 of 84 failed",  # the old release
        "answered 24 of 24",  # the new one's other page
        "of this time no customer was counted; 2 of 36 looks failed then.",
        "status 503",
        "There is no Chromium.",
        "LCP&nbsp;3",
        "HTTP&nbsp;2",
    ):
        assert said in watched, said
    assert "no answer" not in watched
    assert {kind: watched.count(f'<rect class="bar-{kind}" x') for kind in ("customers", "some", "failed")} == {
        "customers": 1, "some": 1, "failed": 0,
    }  # fmt: skip
    assert watched.count('<rect class="bar-good" x') == 3
    assert watched.index("shop-2") < watched.index("shop-1"), "the newest release comes first"
    assert "<option>/menu" not in page, "what the portal looks at is no route of visitors"


def test_at_night_the_page_shows_the_portals_own_looks(environment, sign_in):
    now = timezone.now()
    probed("production", "shop-1", now - timedelta(hours=2), now, step=timedelta(minutes=5))
    page = sign_in("ann").get(PAGE).content.decode()
    assert "Nobody measured anything of production" in page
    assert "no customer was counted; it answered all 48 looks then." in page


@pytest.mark.parametrize(
    ("every", "ago", "said"),
    [
        (300, None, "Nothing was looked at in the last 6 hours."),
        (300, 600, "Every 5 min"),
        (300, 1200, "how the site did since is not known"),
        (0, 1200, "<code>BURGER_PROBE_EVERY</code> is 0"),
    ],
)
def test_it_is_said_when_nobody_looks(environment, sign_in, settings, every, ago, said):
    settings.PROBE_EVERY = every
    if ago is not None:
        Beat.objects.create(name="probe", at=timezone.now() - timedelta(seconds=ago), data={"problem": ""})
    page = sign_in("ann").get(PAGE).content.decode()
    assert said in page
    assert ("is not known" in page) == (said == "how the site did since is not known")


def test_what_was_dropped_is_said_with_its_reason(night, sign_in):
    page = sign_in("ann").get(PAGE).content.decode()
    section = page[page.index('id="dropped"') :]
    for said in ("12 reports of production were dropped", "<code>no_room</code>", "<code>forged</code>", "Of 3 more"):
        assert said in section, said
    assert "refused" not in section, "that is staging's"


def test_nothing_dropped_is_said_too(two, sign_in):
    assert "Nothing was dropped in the last 6 hours" in sign_in("ann").get(PAGE).content.decode()


def test_every_reason_to_drop_is_explained():
    said = (Path(__file__).parents[2] / "docs/performance.md").read_text()
    assert all(f"`{reason}`" in said for reason in REASONS)


def test_the_api_says_what_the_portal_saw_and_what_was_dropped(night, sign_in):
    found = sign_in("ann").get("/api/environments/demo/production/performance").json()
    probes = found["probes"]
    assert (probes["every"], probes["problem"], probes["looks"], probes["failed"]) == (
        300, "There is no Chromium.", 108, 2,
    )  # fmt: skip
    assert probes["unattended"]["looks"] == 36
    assert probes["unattended"]["failed"] == 2
    newest, old = probes["pages"]
    assert (newest["release"], newest["path"], newest["looks"], newest["last_failure"]) == ("shop-2", "/menu", 24, None)
    assert old["last_failure"]["problem"] == "status 503"
    assert old["values"]["http"] == pytest.approx(20, rel=0.01)
    assert sum(point["failed"] for point in old["points"]) == 2
    assert found["views"] == 0
    assert [(one["reason"], one["count"], one["unassigned"]) for one in found["dropped"]] == [
        ("no_room", 12, 0), ("forged", 0, 3),
    ]  # fmt: skip
    assert all(one["meaning"] for one in found["dropped"])


def test_a_release_page_says_what_it_did(two, sign_in):
    page = sign_in("ann").get("/environments/demo/production/releases/shop-2").content.decode()
    assert "With shop-2, LCP (" in page
    assert "worse than with shop-1" in page
    assert "first release here" in sign_in("ann").get("/environments/demo/production/releases/shop-1").content.decode()
    assert sign_in("ann").get("/environments/demo/production/releases/shop-9").status_code == 404


@pytest.fixture
def judged(two: Environment, waiting: Run) -> dict[str, Any]:
    """The canary of the new release, as its stage told it."""
    found = assess(parse(BUDGETS), lcp(1500, 800), lcp(1000, 800, 2))
    customers = {"release": "shop-2", "beside": "shop-1", "since": 0, **found.as_dict()}
    told = {"step": 2, "state": "fail", "reason": "LCP is too long.", "customers": customers}
    data = {"release": "shop-2", "canary": "shop-2", "weight": 0, "weights": {"shop-1": 100}, "verdicts": [told]}
    data = json.loads(json.dumps(data))
    stage = Stage.objects.get(run=waiting, name="after")
    progress = {"text": "aborted", "done": 2, "total": 3, "data": data}
    Stage.objects.filter(pk=stage.pk).update(kind="rollout", state=State.FAILED, progress=progress)
    Attempt.objects.create(
        stage=stage, number=1, key="judged", open=False, state="failed", data=data, started_at=timezone.now()
    )
    return data


def test_a_verdict_is_a_table_with_its_rule(judged, waiting, sign_in):
    for address in (
        f"/runs/demo/{waiting.number}/stages/after/head",
        "/environments/demo/production/releases/shop-2",
    ):
        page = sign_in("ann").get(address).content.decode()
        for said in (
            "LCP is too long.",
            "beyond",
            "1.1 times, 2,500 ms",
            "800 / 800",
            "look 4 of 8",
            "How this is judged",
        ):
            assert said in page, (address, said)


def test_a_verify_stage_shows_its_verdict_too(judged, waiting, sign_in):
    numbers = {"total": {"count": 40, "errors": 1, "p95_ms": 31.25}, "customers": judged["verdicts"][0]["customers"]}
    Attempt.objects.filter(key="judged").update(data={"verdict": "inconclusive", "numbers": numbers})
    Stage.objects.filter(run=waiting, name="after").update(kind="verify", reason="Too few.", progress={})
    page = sign_in("ann").get(f"/runs/demo/{waiting.number}/stages/after/head").content.decode()
    for said in ("Answers to probes", "undecided", "Too few.", "800 / 800"):
        assert said in page


def test_a_release_that_probes_let_go_on_is_not_called_good_by_its_customers(judged, waiting, sign_in):
    customers = judged["verdicts"][0]["customers"] | {"state": "wait"}
    told = {"step": 2, "state": "pass", "reason": "Too few customers came to say.", "customers": customers}
    Attempt.objects.filter(key="judged").update(data=judged | {"verdicts": [told]})
    Stage.objects.filter(run=waiting, name="after").update(progress={"data": judged | {"verdicts": [told]}})
    page = sign_in("ann").get(f"/runs/demo/{waiting.number}/stages/after/head").content.decode()
    assert "too few to say" in page
    assert "good enough" not in page


def test_the_api_says_the_same(judged, sign_in):
    client = sign_in("ann")
    found = client.get("/api/environments/demo/production/performance", {"range": "6h", "by": "release"}).json()
    lcp_of = next(metric for metric in found["metrics"] if metric["metric"] == "lcp")
    assert [line["name"] for line in lcp_of["lines"]] == ["shop-2", "shop-1"]
    assert lcp_of["lines"][0]["value"] == pytest.approx(2 * lcp_of["lines"][1]["value"], rel=0.1)
    assert client.get("/api/environments/demo/production/performance", {"range": "1y"}).status_code == 400
    effect = client.get("/api/environments/demo/production/releases/shop-2").json()
    assert effect["sentence"].startswith("With shop-2, LCP (")
    assert effect["verdicts"][0]["customers"]["state"] == "fail"
    assert client.get("/api/environments/demo/production/releases/shop-9").status_code == 404


def test_whoever_is_in_no_team_sees_nothing(two, cast):
    assert Client().get(PAGE).status_code == 302
    assert Client().get("/api/environments/demo/production/performance").status_code == 401


def queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as found:
        assert client.get(address).status_code == 200
    return len(found)


def test_pages_cost_the_same_with_much_history(two, sign_in, waiting):
    addresses = [
        PAGE,
        f"{PAGE}?for=24h&by=route",
        "/environments/demo/production/releases/shop-2",
        "/api/environments/demo/production/performance",
        "/api/environments/demo/production/releases/shop-2",
    ]
    client = sign_in("ann")
    before = {address: queries(client, address) for address in addresses}
    now = timezone.now()
    for number in range(10):
        released(two, f"old-{number}", now - timedelta(minutes=30 - number), waiting)
    visited("production", "old-1", now - timedelta(days=3), now - timedelta(days=2), views=1)
    assert {address: queries(client, address) for address in addresses} == before
    assert max(before.values()) <= 26, before


def test_readings_without_anything_are_no_verdict():
    assert assess(parse(BUDGETS), Reading(), Reading()).state == "wait"
