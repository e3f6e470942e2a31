"""From what people do in their browsers to the end of a canary: a real shop behind the real router, customers with
Chromium who click and order, what their pages and the shop report of it, and a rollout that reads it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Outcome, Unattended
from pipelines.executors.rollout.executor import RolloutExecutor
from tests.customers import PAINTED, Customers, Visit
from tests.engines.measured_site import Site
from tests.ordering.served import migrated_database

pytest.importorskip("playwright.async_api")
pytestmark = [pytest.mark.django_db, pytest.mark.browser]

ROOT = Path(__file__).resolve().parents[2]
FIRST_LOOK = 100
LATER = 0.4  # seconds
# Of so many customers one buys something.
BUYS = 4
SERVICE = {
    "command": ["python", "-m", "ordering.site.serve", "--port", "{port}"],
    "replicas": 1,
    "env": {
        "SECRET_KEY": "only-for-these-tests-only-for-these-tests",
        "PYTHONPATH": f".:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "changed",
    },
}
CHANGED = '''\
"""The shop with one change, which is in `change`."""
import time
from django.http import HttpResponse, HttpResponseRedirect
from ordering.site.settings import *

MIDDLEWARE = [*MIDDLEWARE, "changed.change"]


def change(get_response):
    return get_response
'''
# Whoever clicks waits for an answer before the page moves.
SLOW_CLICKS = '''
SCRIPT = """
addEventListener("click", () => {
  const request = new XMLHttpRequest();
  request.open("GET", "/late", false);
  request.send();
});
"""


def change(get_response):
    def answer(request):
        if request.path == "/slow.js":
            return HttpResponse(SCRIPT, content_type="text/javascript")
        if request.path == "/late":
            time.sleep(LATER)
            return HttpResponse(status=204)
        response = get_response(request)
        response.content = response.content.replace(b"</head>", b'<script src="/slow.js"></script></head>')
        return response

    return answer
'''
# The form comes back whatever was in it. No answer is an error, and nobody waits any longer than before.
NO_ORDERS = """

def change(get_response):
    def answer(request):
        lost = request.method == "POST" and request.path == "/checkout/"
        return HttpResponseRedirect(request.path) if lost else get_response(request)

    return answer
"""
RELEASES = {"first": "", "slow-clicks": SLOW_CLICKS.replace("LATER", str(LATER)), "no-orders": NO_ORDERS}
FELT = PAINTED.replace("largest-contentful-paint", "first-input")


def shop(tree: Path, version: str) -> None:
    (tree / "changed.py").write_text(CHANGED + RELEASES[version])


@pytest.fixture
def site(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site.fill = shop
    site.place.data.mkdir(parents=True)
    shutil.copy(migrated_database(tmp_path_factory.mktemp("database")), site.place.data)
    site.rolled(site.spec("first", service=SERVICE))
    return site


def judged(site: Site, version: str, budgets: dict[str, Any], visit: Visit) -> tuple[Outcome, dict[str, Any]]:
    """The end of a canary whose customers decide, and what was found of the only metric that it has a budget for."""
    verify = {"soak": "1s", "interval": "250ms", "minimum_samples": 2, "within": "5m", "budgets": budgets}
    steps = [{"setWeight": 50}, {"verify": {"paths": ["/healthz"], **verify}}]
    spec = site.spec(version, {"canary": {"steps": steps}}, service=SERVICE)
    with Customers(visit) as customers:
        *_, outcome = RolloutExecutor(site.workplace).start(spec, f"run-{spec.run}", Unattended())
    assert not customers.problem, customers.problem
    assert isinstance(outcome, Outcome)
    (verdict,) = outcome.data["verdicts"]
    (finding,) = verdict["customers"]["findings"]
    return outcome, finding


def taken_back(site: Site, outcome: Outcome, finding: dict[str, Any]) -> None:
    assert (outcome.state, finding["state"]) == ("failed", "beyond"), outcome.reason
    assert min(finding["count"], finding["baseline_count"]) >= FIRST_LOOK
    ((release, weight),) = site.status()["weights"].items()
    assert (release, weight) == (site.status()["release"], 100)
    assert site.get()[1]["X-Release"] == release


def test_clicks_that_take_longer_take_a_release_back(site: Site) -> None:
    async def click(page: Any, _number: int) -> None:
        await page.goto(f"http://127.0.0.1:{site.port}/cart/", wait_until="commit")
        await page.evaluate(PAINTED)
        await page.mouse.click(500, 600)
        await page.evaluate(FELT)

    outcome, found = judged(site, "slow-clicks", {"inp": {"limit": "20s", "tolerance": 1.5}}, click)
    taken_back(site, outcome, found)
    assert "INP" in outcome.reason
    assert found["value"] > LATER * 1000 > found["baseline"]
    assert found["at_least"] > found["tolerance"]


def test_orders_that_come_to_nothing_take_a_release_back(site: Site) -> None:
    async def shop_around(page: Any, number: int) -> None:
        buys = number % BUYS == 0
        # The page of an empty cart is a visit as good as any, and the quickest.
        await page.goto(f"http://127.0.0.1:{site.port}/{'' if buys else 'cart/'}", wait_until="commit")
        if buys:
            await page.click("button.add >> nth=0")
            await page.click("#cart a[href='/checkout/']")
            await page.fill("#name", "Ada")
            async with page.expect_navigation():
                await page.click("#checkout button.primary")

    outcome, found = judged(site, "no-orders", {"orders": {"tolerance": 0.7}}, shop_around)
    taken_back(site, outcome, found)
    assert "orders" in outcome.reason.lower()
    assert found["value"] == 0 < found["baseline"]
    assert found["at_most"] < found["tolerance"]
