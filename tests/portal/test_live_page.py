"""live.js in a real browser, against a real installation: what a page shows follows what workers commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .live_site import ROOT, Site, live_site
from .proxy import Proxy

SCRIPT = ROOT / "portal" / "static" / "portal" / "live.js"
PAGE = """<!doctype html><title>live</title>
<main data-live="/ws/runs/demo/{number}/" data-live-poll="/runs/demo/{number}/live" data-live-since="{since}">
  <p data-live-status></p>
  <svg>
    <g id="stage-{stage}" data-asks="ops" class="stage state-pending team-dev">
      <a href="?stage=a" data-name="Build, team dev">
        <use class="state-icon" href="#icon-pending"></use><text data-live-word="">pending</text></a></g>
    <g id="all" class="state-pending" data-members="{stage}:pending 9001-9003:succeeded"><text data-live-word=""></text>
      <rect class="share-of" width="100"></rect><rect class="share" width="75"></rect></g>
  </svg>
  <pre data-live-log="{stage}" style="height: 60px; overflow: auto"></pre>
  <div id="panel" data-live-refresh="stage:{stage}" data-live-url="/fragment">
    <form><textarea id="why"></textarea></form>
  </div>
</main>
<script src="/static/portal/live.js"></script>"""
LIST = """<!doctype html><title>list</title>
<main data-live="/ws/portal/" data-live-poll="/live" data-live-since="0">
  <p data-live-status></p><p data-live-new hidden></p>
  <p class="row state-running" data-live-row="{run}"><span data-live-word></span></p>
  <div id="list" data-live-refresh="changed" data-live-url="/fragment"></div>
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


def signed_in(browser: Browser, site: Site, session: str, **options: Any) -> Page:
    # Some pages are made up here, and a browser keeps such pages away from local addresses unless allowed.
    context = browser.new_context(permissions=["local-network-access"], **options)
    name, _, value = site.cookie(session).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": site.own_origin}])
    return context.new_page()


def opened(browser: Browser, site: Site, session: str, run: tuple[int, int, int], origin: str = "") -> Page:
    page = signed_in(browser, site, session)
    body = PAGE.format(number=run[1], stage=run[2], since=0)
    page.route("**/page", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("**/fragment", lambda route: route.fulfill(body="<p>fresh</p>", content_type="text/html"))
    page.goto(f"{origin or site.own_origin}/page")
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
    expect(node.locator("[data-live-word]")).to_have_text("waiting: ops")
    assert node.locator("use").get_attribute("href") == "#icon-waiting"
    assert node.locator("a").get_attribute("aria-label") == "Build, team dev, waiting: ops"
    expect(page.locator("#all [data-live-word]")).to_have_text("1 waiting")


def test_a_box_for_several_stages_counts_along(site, run, page):
    pk, _, stage = run
    word, share = page.locator("#all [data-live-word]"), page.locator("#all .share")
    site.backstage.move(run=pk, stage=stage, state="running")
    expect(word).to_have_text("1 running")
    site.backstage.move(run=pk, stage=stage, state="running")
    site.backstage.move(run=pk, stage=stage, state="succeeded")
    expect(word).to_have_text("4 succeeded")
    expect(share).to_have_attribute("width", "100")
    site.backstage.move(run=pk, stage=stage, state="failed")
    expect(word).to_have_text("1 failed")
    site.backstage.move(run=pk, stage=stage, state="pending")
    expect(word).to_have_text("1 pending")
    expect(share).to_have_attribute("width", "75")


def test_what_somebody_unfolded_stays_so(site, run, page):
    pk, _, stage = run
    body = '<details id="steps"><summary>Steps</summary>{}</details><details id="other" open></details>'
    texts = iter(["first", "second"])
    page.route(
        "**/fragment", lambda route: route.fulfill(body=body.format(next(texts, "more")), content_type="text/html")
    )
    site.backstage.move(run=pk, stage=stage, state="running")
    expect(page.locator("#steps")).to_contain_text("first")
    page.locator("#steps summary").click()
    page.locator("#other").evaluate("el => { el.open = false }")
    site.backstage.move(run=pk, stage=stage, state="succeeded")
    expect(page.locator("#steps")).to_contain_text("second")
    expect(page.locator("#steps")).to_have_attribute("open", "")
    expect(page.locator("#other")).not_to_have_attribute("open", "")


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


def test_a_list_stays_as_it_was_narrowed_while_the_run_goes_on(site, ann, browser):
    pk, number = site.backstage.run()
    stages = site.backstage.fan(run=pk, count=60)
    page = signed_in(browser, site, ann)
    page.goto(f"{site.own_origin}/runs/demo/{number}")
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    names = page.locator("#stage-list .stage-name")
    page.fill("#stage-name", "many/5")
    expect(names).to_have_count(11)
    page.select_option("#stage-state", "pending")
    site.backstage.move(run=pk, stage=stages[6], state="succeeded")
    expect(names).to_have_count(10)
    expect(page.locator("#graph [data-members] .word")).to_have_text("59 pending")
    expect(page.locator(".run-header")).to_contain_text("1 of 61 stages ended")
    # What is opened from it does not widen it, and the address shows both.
    names.nth(0).click()
    expect(page.locator("#stage-panel h2")).to_have_text("many/50")
    expect(page).to_have_url(re.compile(r"stage=many%2F50&state=pending&name=many%2F5$"))
    page.reload()
    expect(names).to_have_count(10)
    page.context.close()


def test_who_watches_a_gate_sees_what_others_decide(site, browser):
    """Who may decide and who may not, beside a third who writes a reason and must not lose it."""
    sessions = {name: site.backstage.person(name=name, team=team) for name, team in (
        ("bea", "dev"), ("olga", "ops"), ("otto", "ops"), ("oda", "ops"), ("ole", "ops"))}  # fmt: skip
    number, stage = site.backstage.gated()
    pages = {}
    for name in ("bea", "olga", "ole"):
        pages[name] = signed_in(browser, site, sessions[name])
        pages[name].goto(f"{site.own_origin}/runs/demo/{number}?stage=ask")
        expect(pages[name].locator("[data-live-status]")).to_have_text("Live")
        expect(pages[name].locator(".quorum")).to_contain_text("0 of 3")
    pages["ole"].fill("textarea[name=reason]", "I am still thinking")
    site.backstage.approve(stage=stage, name="otto")
    expect(pages["bea"].locator(".quorum")).to_contain_text("1 of 3")
    expect(pages["olga"].locator(".quorum")).to_contain_text("1 of 3")
    site.backstage.approve(stage=stage, name="oda")
    expect(pages["olga"].locator(".quorum")).to_contain_text("2 of 3")
    pages["olga"].locator("[data-approve]").click()
    for name in ("bea", "olga"):
        expect(pages[name].locator("#stage-head")).to_contain_text("queued")
        expect(pages[name].locator(".quorum")).to_have_count(0)
    expect(pages["ole"].locator(".stale")).to_contain_text("Nobody is asked about this plan any more")
    expect(pages["ole"].locator("textarea[name=reason]")).to_have_value("I am still thinking")
    expect(pages["ole"].locator("[data-approve]")).to_be_disabled()
    for page in pages.values():
        page.context.close()


def test_a_box_of_the_graph_lists_what_is_in_it(site, ann, browser):
    pk, number = site.backstage.run()
    stages = site.backstage.fan(run=pk, count=60)
    site.backstage.move(run=pk, stage=stages[31], state="failed")
    page = signed_in(browser, site, ann)
    page.goto(f"{site.own_origin}/runs/demo/{number}")
    page.locator("#graph [data-members] a").click()
    expect(page.locator(".stage-found")).to_contain_text("60 of the stages in that box")
    expect(page.locator("#stage-panel h2")).to_have_text("many/30")
    page.locator(".stage-found a").click()
    expect(page.locator(".stage-found")).to_have_count(0)
    page.context.close()


def test_on_a_phone_the_graph_is_drawn_for_its_width_and_larger_when_asked(site, ann, browser):
    pk, number = site.backstage.run()
    site.backstage.fan(run=pk, count=3)
    page = signed_in(browser, site, ann, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.goto(f"{site.own_origin}/runs/demo/{number}")
    picture = page.locator("#graph svg")
    expect(picture).to_be_hidden()
    page.locator(".graph-fold > summary").click()
    expect(picture).to_be_visible()
    expect(picture).to_have_attribute("width", "258")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_the_graph_is_zoomed_with_buttons(site, ann, browser):
    pk, number = site.backstage.run()
    site.backstage.fan(run=pk, count=3)
    page = signed_in(browser, site, ann)
    page.goto(f"{site.own_origin}/runs/demo/{number}")
    width = lambda: page.locator("#graph svg").bounding_box()["width"]  # noqa: E731
    natural = width()
    page.get_by_role("button", name="Larger").click()
    assert width() == pytest.approx(natural * 1.25, rel=0.01)
    page.get_by_role("button", name="Fit").click()
    assert width() == pytest.approx(natural, rel=0.01)
    page.context.close()


# --- behind a proxy that lets no socket through


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    proxy = Proxy(site.port)
    yield proxy
    proxy.close()


@pytest.fixture
def polling(site: Site, ann: str, browser: Browser, run: tuple[int, int, int], proxy: Proxy) -> Iterator[Page]:
    page = opened(browser, site, ann, run, proxy.origin)
    expect(page.locator("[data-live-status]")).to_have_text("Live by polling")
    yield page
    page.context.close()


def test_where_no_socket_can_be_opened_the_page_asks_again_and_again(site, run, polling):
    pk, _, stage = run
    lines = [f"line {i}" for i in range(700)]  # more than one answer holds
    site.backstage.write(run=pk, stage=stage, lines=lines)
    site.backstage.move(run=pk, stage=stage, state="succeeded")
    expect(polling.locator(f"#stage-{stage}")).to_have_class("stage team-dev state-succeeded", timeout=10_000)
    expect(polling.locator("#all [data-live-word]")).to_have_text("4 succeeded")
    expect(polling.locator("[data-live-log]")).to_contain_text("line 699")
    assert log_of(polling) == lines
    assert polling.locator("[data-live-status]").get_attribute("data-state") == "polling"


def test_a_page_that_polls_says_when_nobody_answers_and_goes_on(site, run, polling):
    pk, _, stage = run
    status = polling.locator("[data-live-status]")
    site.backstage.write(run=pk, stage=stage, lines=["before"])
    site.stop_web(kill=True)
    expect(status).to_contain_text("Not live: the server does not answer", timeout=10_000)
    site.backstage.write(run=pk, stage=stage, lines=["meanwhile"])
    site.start_web()
    expect(polling.locator("[data-live-log]")).to_contain_text("meanwhile", timeout=15_000)
    assert log_of(polling) == ["before", "meanwhile"]
    expect(status).to_have_text("Live by polling")


def test_a_page_that_polls_takes_a_socket_as_soon_as_it_gets_one(site, run, polling, proxy):
    pk, _, stage = run
    proxy.lets_sockets_through = True
    polling.evaluate("dispatchEvent(new Event('online'))")
    expect(polling.locator("[data-live-status]")).to_have_text("Live")
    site.backstage.write(run=pk, stage=stage, lines=["through the socket"])
    expect(polling.locator("[data-live-log]")).to_have_text("through the socket\n")


def test_a_page_that_polls_stops_when_its_owner_may_not_look_any_more(site, run, browser, proxy):
    session = site.backstage.person(name=f"poller-{run[0]}")
    page = opened(browser, site, session, run, proxy.origin)
    expect(page.locator("[data-live-status]")).to_have_text("Live by polling")
    site.backstage.sign_out(session=session)
    expect(page.locator("[data-live-status]")).to_have_text("Not live: reload the page", timeout=10_000)
    page.context.close()


def test_a_list_page_that_polls_sees_runs_change_and_come(site, ann, run, browser, proxy):
    page = signed_in(browser, site, ann)
    body = LIST.format(run=run[0])
    page.route("**/page", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("**/fragment", lambda route: route.fulfill(body="<p>fresh</p>", content_type="text/html"))
    page.goto(f"{proxy.origin}/page")
    expect(page.locator("[data-live-status]")).to_have_text("Live by polling")
    expect(page.locator("#list")).to_have_text("fresh")
    site.backstage.end(run=run[0])
    expect(page.locator(f"[data-live-row='{run[0]}']")).to_have_class("row state-succeeded", timeout=10_000)
    site.backstage.append(run=site.backstage.run()[0], count=1, kind="run")
    expect(page.locator("[data-live-new]")).to_have_text("1 new", timeout=10_000)
    page.context.close()
