"""The browser agent in a real browser, beside the published implementation, on the same page views."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ordering import vitals
from tests.ordering.served import Shop
from tests.ordering.test_measure import TOKEN, Collector

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

# As a visitor's browser, and with the back/forward cache that automation turns off.
ARGUMENTS = ["--no-sandbox", "--disable-blink-features=AutomationControlled"]
WITHOUT = ["--disable-back-forward-cache"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGUMENTS, ignore_default_args=WITHOUT
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def script() -> str:
    try:
        return vitals.reference()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the npm package {vitals.REFERENCE} cannot be had here ({type(error).__name__}): needs npm")


@pytest.fixture
def site(script: str) -> Iterator[vitals.Site]:
    made = vitals.Site(script)
    yield made
    made.close()


@pytest.fixture
def bare() -> Iterator[vitals.Site]:
    made = vitals.Site("")
    yield made
    made.close()


def opened(chromium: Any, **options: Any) -> Any:
    # A phone's width is less than a window has: then the browser tells of no interaction before the page is hidden.
    context = chromium.new_context(viewport={"width": 1000, "height": 800}, **options)
    context.set_default_timeout(20_000)
    return context.new_page()


def test_the_agent_is_small():
    assert vitals.size_on_the_wire() <= 3 * 1024


def test_the_vitals_are_those_of_the_published_implementation(chromium, site):
    page = opened(chromium)
    page.goto(f"{site.url}/slow?utm_source=mail")
    page.wait_for_selector("[data-done]")
    page.click("#quick")
    page.click("#slow")
    page.click("#quick")
    vitals.wait_until_felt(page, 150)
    page.goto(f"{site.url}/next")
    site.wait(1, 1)
    ours, theirs = site.beacons[0]["m"], site.references[0]
    assert set(ours) == {"LCP", "INP", "CLS", "FCP", "TTFB"}
    assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=0.001)
    assert ours["LCP"] > ours["FCP"] > ours["TTFB"] > 40
    assert ours["INP"] >= 150
    assert ours["CLS"] > 0.05
    page.context.close()


def test_a_view_out_of_the_back_forward_cache_is_another_one(chromium, site):
    page = opened(chromium)
    page.goto(f"{site.url}/slow")
    page.wait_for_selector("[data-done]")
    page.goto(f"{site.url}/next")
    page.go_back(wait_until="commit")
    page.wait_for_function("performance.getEntriesByType('navigation').length && document.body.dataset.done")
    page.evaluate("() => { window.kept = true }")
    page.click("#slow")
    vitals.wait_until_felt(page, 150)
    page.goto(f"{site.url}/next")
    site.wait(2, 2)
    first, second = site.beacons
    assert (first["n"], second["n"]) == ("navigate", "back-forward-cache"), "the browser kept the page"
    assert second["t"] == first["t"]
    ours, theirs = second["m"], site.references[1]
    assert ours["TTFB"] == theirs["TTFB"] == 0
    assert ours["CLS"] == theirs.get("CLS", 0) == 0
    assert ours["INP"] == theirs["INP"]
    # Each counts two frames by itself.
    assert ours["LCP"] == pytest.approx(theirs["LCP"], abs=20)
    assert ours["LCP"] < first["m"]["LCP"]
    page.context.close()


def test_a_view_is_told_once(chromium, bare):
    page = opened(chromium)
    page.goto(f"{bare.url}/slow")
    page.wait_for_selector("[data-done]")
    hide = """(state) => {
        Object.defineProperty(document, "visibilityState", {configurable: true, get: () => state});
        document.dispatchEvent(new Event("visibilitychange", {bubbles: true}));
    }"""
    for state in ("hidden", "visible", "hidden"):
        page.evaluate(hide, state)
    page.goto(f"{bare.url}/next")
    bare.wait(1, 0)
    page.goto(f"{bare.url}/slow")
    page.goto(f"{bare.url}/next")
    bare.wait(2, 0)
    assert len(bare.beacons) == 2, "the first view's one, and the second view's"
    page.context.close()


@pytest.mark.parametrize(
    ("options", "device"),
    [
        ({}, "desktop"),
        ({"has_touch": True, "is_mobile": True, "screen": {"width": 390, "height": 844}}, "phone"),
        ({"has_touch": True, "is_mobile": True, "screen": {"width": 1024, "height": 768}}, "tablet"),
    ],
)
def test_a_beacon_says_the_device_class_and_nothing_that_tells_who(chromium, bare, options, device):
    page = opened(chromium, user_agent="Mozilla/5.0 (Strange)", **options)
    page.context.add_cookies([{"name": "who", "value": "secret-id", "url": bare.url}])
    page.goto(f"{bare.url}/slow?who=secret-query")
    page.wait_for_selector("[data-done]")
    page.goto(f"{bare.url}/next")
    bare.wait(1, 0)
    assert bare.beacons[0]["d"] == device
    assert set(bare.beacons[0]) == {"t", "d", "n", "m"}
    for secret in (b"secret", b"Strange", b"slow", b"127.0.0.1"):
        assert secret not in bare.bodies[0]
    assert len(bare.bodies[0]) < 1024
    page.context.close()


def test_no_sample_and_no_automation_is_told(chromium, bare):
    page = opened(chromium)
    for change in (
        "Object.defineProperty(Navigator.prototype, 'webdriver', {get: () => true})",
        "Math.random = () => 1",
    ):
        page = opened(chromium)
        page.add_init_script(change)
        page.goto(f"{bare.url}/slow")
        page.wait_for_selector("[data-done]")
        page.goto(f"{bare.url}/next")
        page.context.close()
    page = opened(chromium)
    page.goto(f"{bare.url}/slow")
    page.goto(f"{bare.url}/next")
    bare.wait(1, 0)
    assert len(bare.beacons) == 1
    page.context.close()


def test_a_page_opened_in_the_background_has_no_paints(chromium, bare):
    page = opened(chromium)
    page.add_init_script("""
        Object.defineProperty(document, "visibilityState", {configurable: true, get: () => "hidden"});
        const all = performance.getEntriesByType.bind(performance);
        performance.getEntriesByType = (type) => type === "visibility-state" ? [] : all(type);
    """)
    page.goto(f"{bare.url}/slow")
    page.wait_for_selector("[data-done]")
    page.goto(f"{bare.url}/next")
    bare.wait(1, 0)
    assert set(bare.beacons[0]["m"]) == {"TTFB"}
    page.context.close()


def test_the_shops_pages_are_told_by_route(chromium, tmp_path, database, built):
    collector = Collector()
    measuring = {"MEASURE_URL": collector.url, "MEASURE_TOKEN": TOKEN}
    with Shop(tmp_path / "shop", database=database, built=built, **measuring) as shop:
        page = opened(chromium)
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(shop.url)
        page.wait_for_load_state("networkidle")
        page.goto(f"{shop.url}/cart/")
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
        page.wait_for_timeout(500)
        page.context.close()
        shop.terminate()
        assert shop.process.wait(30) == 0
    collector.close()
    totals = collector.totals()
    beacons = [json.loads(one) for one in totals.pop("")]
    assert len(beacons) == 2
    assert {"LCP", "CLS", "FCP", "TTFB"} <= set(beacons[0]["m"])
    assert complaints == []
    assert totals["menu"]["visits"] == 1
