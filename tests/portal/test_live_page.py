"""live.js in a real browser, against a real installation: what a page shows follows what workers commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .live_site import ROOT, Site, live_site

SCRIPT = ROOT / "portal" / "static" / "portal" / "live.js"
PAGE = """<!doctype html><title>live</title>
<main data-live="/ws/runs/demo/{number}/" data-live-since="{since}">
  <p data-live-status></p>
  <svg>
    <g id="stage-{stage}" class="stage state-pending team-dev"><a href="?stage=a" data-name="Build, team dev">
      <use class="state-icon" href="#icon-pending"></use><text data-live-word="">pending</text></a></g>
    <g id="all" class="state-pending" data-members="{stage}:pending 9999:succeeded"><text data-live-word=""></text></g>
  </svg>
  <pre data-live-log="{stage}" style="height: 60px; overflow: auto"></pre>
  <div id="panel" data-live-refresh="stage:{stage}" data-live-url="/fragment">
    <form><textarea id="why"></textarea></form>
  </div>
</main>
<script src="/static/portal/live.js"></script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with live_site(tmp_path_factory.mktemp("home")) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def ann(site: Site) -> str:
    return site.backstage.person(name="ann")


@pytest.fixture
def run(site: Site) -> tuple[int, int, int]:
    pk, number = site.backstage.run()
    return pk, number, site.backstage.stage(run=pk, name="build")


def opened(browser: Browser, site: Site, session: str, run: tuple[int, int, int]) -> Page:
    # The page itself is made up here, and a browser keeps such pages away from local addresses unless allowed.
    context = browser.new_context(permissions=["local-network-access"])
    name, _, value = site.cookie(session).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": site.own_origin}])
    page = context.new_page()
    body = PAGE.format(number=run[1], stage=run[2], since=0)
    page.route("**/page", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("**/fragment", lambda route: route.fulfill(body="<p>fresh</p>", content_type="text/html"))
    page.goto(f"{site.own_origin}/page")
    return page


@pytest.fixture
def page(site: Site, ann: str, browser: Browser, run: tuple[int, int, int]) -> Iterator[Page]:
    page = opened(browser, site, ann, run)
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    yield page
    page.context.close()


def log_of(page: Page) -> list[str]:
    return page.locator("[data-live-log]").text_content().splitlines()


def test_a_stage_changes_its_class_its_icon_and_its_word(site, run, page):
    pk, _, stage = run
    site.backstage.move(run=pk, stage=stage, state="waiting", code="approval")
    node = page.locator(f"#stage-{stage}")
    expect(node).to_have_class("stage team-dev state-waiting")
    expect(node.locator("[data-live-word]")).to_have_text("waiting: approval")
    assert node.locator("use").get_attribute("href") == "#icon-waiting"
    assert node.locator("a").get_attribute("aria-label") == "Build, team dev, waiting: approval"
    expect(page.locator("#all [data-live-word]")).to_have_text("1 waiting")


def test_a_log_follows_its_end_unless_somebody_reads_further_up(site, run, page):
    pk, _, stage = run
    log = page.locator("[data-live-log]")
    lines = [f"line {i}" for i in range(40)]
    site.backstage.write(run=pk, stage=stage, lines=lines)
    expect(log).to_contain_text("line 39")
    assert log_of(page) == lines
    assert log.evaluate("el => el.scrollHeight - el.scrollTop - el.clientHeight") < 24
    log.evaluate("el => { el.scrollTop = 0 }")
    site.backstage.write(run=pk, stage=stage, lines=["<b>last</b>"])
    expect(log).to_contain_text("<b>last</b>")
    assert log.evaluate("el => el.scrollTop") == 0


def test_nothing_is_lost_or_doubled_when_the_web_process_goes_away(site, run, page):
    pk, _, stage = run
    lines = [f"line {i}" for i in range(300)]
    site.backstage.begin("write", run=pk, stage=stage, lines=lines[:150])
    site.stop_web(kill=True)
    expect(page.locator("[data-live-status]")).not_to_have_text("Live")
    site.backstage.answer()
    site.backstage.write(run=pk, stage=stage, lines=lines[150:])
    site.start_web()
    expect(page.locator("[data-live-log]")).to_contain_text("line 299", timeout=20_000)
    assert log_of(page) == lines
    expect(page.locator("[data-live-status]")).to_have_text("Live")


def test_a_fragment_is_fetched_again_but_not_while_somebody_types_in_it(site, run, page):
    pk, _, stage = run
    panel = page.locator("#panel")
    page.fill("#why", "because")
    site.backstage.move(run=pk, stage=stage, state="running")
    expect(panel.locator(".stale-notice")).to_contain_text("This changed while you were writing.")
    assert page.input_value("#why") == "because"
    panel.get_by_role("button").click()
    expect(panel).to_have_text("fresh")
    site.backstage.move(run=pk, stage=stage, state="succeeded")
    expect(page.locator(f"#stage-{stage}")).to_have_class("stage team-dev state-succeeded")
    expect(panel).not_to_have_attribute("data-stale", "")


def test_somebody_who_signed_out_is_told_and_not_reconnected(site, run, browser):
    session = site.backstage.person(name=f"leaver-{run[0]}", team=None)
    page = opened(browser, site, session, run)
    expect(page.locator("[data-live-status]")).to_contain_text("Not live: You are in no team.")
    assert page.locator("[data-live-status]").get_attribute("data-state") == "off"
    page.context.close()
