"""The portal looks at pages by itself, with a real browser and without one, and keeps what it saw by release."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.engines import environments
from pipelines.engines.local import probes
from pipelines.models import Beat
from pipelines.performance import selectors
from pipelines.performance.probes import devtools
from pipelines.performance.probes.view import view

CHROMIUM = devtools.find()
with_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
# It is loaded when its picture is, which comes after the shift, which comes after the first paint.
PAGE = b"""<!doctype html><title>Shop</title><h1>Burgers</h1><div id=gap></div><p style="font-size:40px">Classic Smash
<script>
const picture = new Image(), later = () => requestAnimationFrame(() => requestAnimationFrame(() => {
  document.getElementById("gap").style.height = "300px";
  setTimeout(() => { picture.src = "/picture"; }, 100);
}));
document.body.append(picture);
const held = new Image(); held.src = "/held"; document.body.append(held);
new PerformanceObserver(later).observe({type: "paint", buffered: true});
</script>"""


class Shop:
    """Two releases behind one address, as a router does it: by the header of whoever measures."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.shifted = threading.Event()
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                release = self.headers.get("X-Burger-Release") or "shop-1"
                browser = "Mozilla" in self.headers.get("User-Agent", "")
                if self.path == "/picture":
                    shop.shifted.set()
                if self.path == "/held":
                    shop.shifted.wait(15)
                if self.path == "/":
                    shop.shifted.clear()
                    shop.asked[f"{release} {'browser' if browser else 'plain'}"] += 1
                self.send_response(shop.status if self.path == "/" else 404)
                self.send_header("X-Release", release)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def shop(home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Production runs two releases, a canary among them; staging runs nothing."""
    settings.ENVIRONMENT_PORTS = {"staging": 1, "production": 2}
    made = Shop()
    running = {"release": "shop-1", "weights": {"shop-1": 90, "shop-2": 10, "shop-0": 0}}
    nothing: dict[str, Any] = {"release": "", "weights": {}}
    known = {"production": running, "staging": nothing}
    monkeypatch.setattr(environments, "statuses", lambda names: {name: known[name] for name in names})
    monkeypatch.setattr(environments, "address", lambda _: made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


def seen(release: str, metric: str) -> int:
    now = datetime.now(UTC)
    rows = selectors.over_time(
        "production", metric, now - timedelta(hours=1), now + timedelta(hours=1), timedelta(hours=4), release=release
    )
    return sum(point.count for points in rows.values() for point in points)


@with_a_browser
def test_each_release_is_viewed_with_a_browser_and_without(db, shop):
    Beat.objects.create(name="probe", at=datetime.now(UTC))
    assert probes.look() == 2
    assert shop.asked == {"shop-1 plain": 1, "shop-2 plain": 1, "shop-1 browser": 1, "shop-2 browser": 1}
    for release in ("shop-1", "shop-2"):
        metrics = ("probe.http", "probe.LCP", "probe.FCP", "probe.TTFB", "probe.CLS")
        assert [seen(release, metric) for metric in metrics] == [1] * 5
        assert seen(release, "LCP") == seen(release, "sessions") == 0, "no visitor is counted"
    now = datetime.now(UTC)
    hour = (now - timedelta(hours=1), now + timedelta(hours=1))
    shifts = selectors.sketch("production", "shop-1", "probe.CLS", *hour)
    assert shifts.quantile(0.5) > 0.01
    told = selectors.probing()
    assert (told["browser"], told["problem"], told["views"]) == (CHROMIUM, "", 2)


@pytest.mark.parametrize(("chromium", "said"), [("/nowhere/chromium", "no Chromium"), ("/bin/false", "ended at once")])
def test_without_a_browser_that_starts_it_is_plain_http_and_said(db, shop, settings, chromium, said):
    settings.CHROMIUM = chromium
    Beat.objects.create(name="probe", at=datetime.now(UTC))
    probes.look()
    assert shop.asked == {"shop-1 plain": 1, "shop-2 plain": 1}
    assert said in selectors.probing()["problem"]


@with_a_browser
def test_a_page_that_fails_is_counted_as_that(db, shop):
    Beat.objects.create(name="probe", at=datetime.now(UTC))
    shop.status = 500
    probes.look()
    assert seen("shop-1", "probe.failed") == 2
    assert seen("shop-1", "probe.LCP") == seen("shop-1", "probe.http") == 0
    failures = {one["release"]: one["problem"] for one in selectors.probing()["failures"]}
    assert failures == {"shop-1": "status 500 in the browser", "shop-2": "status 500 in the browser"}
    shop.status = 200
    probes.look()
    assert len(selectors.probing()["failures"]) == 2, "when it was is still known"


@with_a_browser
def test_an_address_where_nobody_answers_is_a_problem_of_the_page():
    with devtools.browser(CHROMIUM) as browser:
        found = view(browser, "http://127.0.0.1:9/")
    assert found.problem.startswith("no answer")
    assert found.values == {}


@with_a_browser
def test_the_browser_ends_with_whoever_started_it(tmp_path):
    script = (
        "import sys, time\n"
        "from pipelines.performance.probes import devtools\n"
        f"with devtools.browser({CHROMIUM!r}) as browser:\n"
        "    print(browser.ask('Browser.getVersion')['product'], flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert "Chrome" in owner.stdout.readline()
    children = psutil.Process(owner.pid).children(recursive=True)
    assert children
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@pytest.mark.django_db(transaction=True)
def test_one_of_several_sweepers_looks_when_it_is_time(monkeypatch, settings):
    looked = []
    monkeypatch.setattr(probes, "look", lambda: looked.append(1) or 1)
    settings.PROBE_EVERY = 300
    now = datetime.now(UTC)
    first, second = probes.Turns(), probes.Turns()
    assert first.take(now) is None, "not at once: everything has just begun"
    first._next = 0.0
    later = now + timedelta(seconds=301)
    threads = [turns.take(later) for turns in (first, second)]
    for thread in threads:
        if thread:
            thread.join()
    assert looked == [1]
    settings.PROBE_EVERY = 0
    second._next = 0.0
    assert second.take(later + timedelta(days=1)) is None


def test_the_schedule_costs_nothing_between_looks(db, settings, django_assert_num_queries):
    settings.PROBE_EVERY = 300
    turns = probes.Turns()
    turns.take(datetime.now(UTC))
    began = time.monotonic()
    with django_assert_num_queries(0):
        while time.monotonic() - began < 0.05:
            turns.take(datetime.now(UTC))
