"""The whole way: a customer's browser, the shop behind its router, its report, the portal, and the rows by release."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.rollout.local.control import configure, ensure_keeper
from tests.executors.rollout_helpers import Installation, installation, until
from tests.portal.live_site import ROOT, Site, live_site

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

PAINTED = "performance.getEntriesByName('first-contentful-paint').length"
SERVICE = {
    "command": ["python", "-m", "ordering.site.serve", "--port", "{port}"],
    "replicas": 1,
    "env": {"SECRET_KEY": "only-for-this-test-" * 3, "PYTHONPATH": str(ROOT)},
}


@dataclass
class Place:
    portal: Site
    environment: Installation

    @property
    def url(self) -> str:
        return f"http://localhost:{self.environment.port}"

    def counted(self, release: str) -> dict[str, int]:
        """How often each metric of a release was seen."""
        query = 'SELECT metric, sum("count") FROM performance_measurement WHERE "release" = ? GROUP BY metric'
        with closing(sqlite3.connect(self.portal.home / "burger.sqlite3", timeout=30)) as database:
            return dict(database.execute(query, [release]).fetchall())

    def stored(self) -> str:
        with closing(sqlite3.connect(self.portal.home / "burger.sqlite3", timeout=30)) as database:
            return repr(database.execute("SELECT * FROM performance_measurement").fetchall())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with installation(tmp_path_factory.mktemp("measured")) as made, live_site(made.home) as portal:
        data = made.place.data
        data.mkdir(parents=True)
        shop = {**os.environ, "DATA_DIR": str(data), "SECRET_KEY": SERVICE["env"]["SECRET_KEY"]}  # type: ignore[index]
        migrate = [sys.executable, "-m", "ordering.site.manage", "migrate", "-v", "0"]
        shop["DJANGO_SETTINGS_MODULE"] = "ordering.site.settings"
        subprocess.run(migrate, cwd=ROOT, env=shop, check=True, timeout=120)
        address = f"http://127.0.0.1:{portal.port}"
        configure(made.home, None, None, {"portal": "127.0.0.1", "environments": "localhost", "collector": address})
        ensure_keeper(made.home, made.workplace.environment_ports)
        yield Place(portal, made)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-blink-features=AutomationControlled"],
        )
        yield browser
        browser.close()


def look_around(chromium: Any, url: str) -> None:
    """A customer comes, looks at the cart, and goes."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, user_agent="Mozilla/5.0 (Planted) Chrome/1")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{url}/?utm_source=planted-query")
    for following in ("/cart/", "/", ""):
        page.wait_for_load_state("load")
        # Asked from here: the shop's policy lets no page wait for an expression by itself.
        until(lambda: page.evaluate(PAINTED), "the page is painted")
        if following:
            with page.expect_navigation():
                page.evaluate("(path) => { location.href = path }", following)
    # The context stays open: its end would end the last beacon on its way.
    page.goto("about:blank")


def test_what_a_customer_met_is_counted_for_the_release_that_served_it(place, chromium):
    for version in ("first", "second"):
        spec = place.environment.spec(version, service=SERVICE)
        release = place.environment.rolled(spec)
        look_around(chromium, place.url)
        status, _, body = place.environment.get("/api/menu")
        assert status == 200
        assert json.loads(body)["currency"] == "EUR"
        found = until(
            lambda release=release: place.counted(release).get("view.navigate", 0) >= 3 and place.counted(release),
            f"three views of {release}: {place.counted(release)}",
            40,
        )
        assert found["TTFB"] == found["FCP"] == found["CLS"] == found["view.navigate"] == 3
        assert found["LCP"] == 3
        assert found["sessions"] == 1, "one visit, of three pages"
        assert found["status.2xx"] == found["duration"] == 4
    stored = place.stored()
    for secret in ("planted", "Planted", "127.0.0.1", "utm_source", "Mozilla"):
        assert secret not in stored


def test_the_portal_may_be_away_for_a_while(place, chromium: Any) -> None:
    release = place.environment.status()["release"]
    before = place.counted(release)["view.navigate"]
    place.portal.stop_web(kill=True)
    look_around(chromium, place.url)
    place.portal.start_web()
    until(
        lambda: place.counted(release).get("view.navigate", 0) == before + 3,
        "what was counted meanwhile is reported",
        60,
    )


def test_a_replicas_token_is_in_no_log(place):
    release = place.environment.status()["release"]
    (replica,) = place.environment.replicas(release)
    variables = Path(f"/proc/{replica['pid']}/environ").read_bytes().split(b"\0")
    token = next(one for one in variables if one.startswith(b"MEASURE_TOKEN=")).partition(b"=")[2]
    assert token
    for log in place.environment.place.logs.glob("*.log"):
        assert token not in log.read_bytes()
