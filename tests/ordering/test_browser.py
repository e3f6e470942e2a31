"""A customer with a real browser, with and without JavaScript, and the kitchen beside."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ordering.served import Shop

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, summary, input:not([type=hidden])")]
    .filter((e) => e.offsetParent !== null && !e.classList.contains("skip"))
    .map((e) => e.closest("label") || e)  // a tap on its label is a tap on it
    .map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
    .filter(([, box]) => box.height < 44 || box.width < 44)
    .map(([text, box]) => `${text}: ${box.width} x ${box.height}`)"""


# Notes each tone that begins, and whether it can be heard.
HEAR = """window.tones = [];
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (at) {
  tones.push([this.frequency.value, this.context.state]);
  return start.call(this, at);
};"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory, database: Path, built: Path) -> Iterator[Shop]:
    with Shop(tmp_path_factory.mktemp("browser") / "shop", database=database, built=built) as served:
        yield served


def visit(chromium, **options):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    return page


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_burger_is_ordered_and_followed(chromium, open_shop, javascript):
    page = visit(chromium, java_script_enabled=javascript)
    name = "Ada" if javascript else "Grace"
    page.goto(open_shop.url)
    page.get_by_role("button", name="Add Cheese Royale").click()
    page.locator(".cart-bar", has_text="€9.90").wait_for()
    page.get_by_role("link", name="View cart").click()
    page.get_by_role("button", name="One Cheese Royale more").click()
    page.locator(".cart-total", has_text="€19.80").wait_for()
    page.get_by_role("link", name="Check out").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Place order").dblclick(no_wait_after=True)
    page.get_by_role("heading", name=f"Thank you, {name}").wait_for()
    number = page.locator(".order-number").inner_text().split()[-1]

    kitchen = visit(chromium, java_script_enabled=javascript)
    kitchen.goto(f"{open_shop.url}/kitchen/")
    ticket = kitchen.locator(".ticket", has=kitchen.locator(".ticket-number", has_text=number))
    assert ticket.count() == 1
    kitchen.get_by_role("button", name=f"Start {number}", exact=True).click()
    kitchen.locator(".column-preparing .ticket", has_text=name).wait_for()
    if not javascript:
        page.reload()
    page.get_by_role("heading", name="Your order is on the grill").wait_for()
    assert page.complaints == kitchen.complaints == []


def test_a_sum_that_is_still_on_its_way_is_waited_for_and_then_placed(chromium, open_shop):
    """Who chooses a tip and presses at once confirms what the button says by then."""
    page = visit(chromium)
    page.goto(open_shop.url)
    page.get_by_role("button", name="Add Cheese Royale").click()
    page.locator(".cart-bar", has_text="€9.90").wait_for()
    page.goto(f"{open_shop.url}/checkout/")
    page.get_by_label("Your name").fill("Ida")
    page.get_by_label("15 %").check()
    page.get_by_role("button", name="Place order · €11.39").click()
    page.get_by_role("heading", name="Thank you, Ida").wait_for()
    assert "€11.39" in page.locator("main").inner_text()
    assert page.complaints == []


def test_a_new_order_is_heard_in_the_kitchen_once_its_sound_is_on(chromium, open_shop):
    kitchen = visit(chromium)
    kitchen.add_init_script(HEAR)
    kitchen.goto(f"{open_shop.url}/kitchen/")

    def heard_after_an_order(name):
        placed = open_shop.order(open_shop.client, str(uuid.uuid4()), {"fries": 1}, name=name)
        kitchen.locator(".ticket", has_text=name).wait_for()
        assert placed.status_code == 201
        return kitchen.evaluate("tones.splice(0)"), placed.json()["number"]

    assert heard_after_an_order("Quiet")[0] == [], "browsers play nothing before a tap"
    kitchen.get_by_role("button", name="Sound off").click()
    kitchen.get_by_role("button", name="Sound on").wait_for()
    assert len(kitchen.evaluate("tones.splice(0)")) == 2, "the switch lets hear what it is about"
    tones, number = heard_after_an_order("Loud")
    assert tones == [[880, "running"], [1175, "running"]]
    for button, column in (("Start", "preparing"), ("Undo", "received")):
        kitchen.get_by_role("button", name=f"{button} {number}", exact=True).click()
        kitchen.locator(f".column-{column} .ticket", has_text="Loud").wait_for()
    assert kitchen.evaluate("tones") == [], "what was taken back is not new"
    kitchen.get_by_role("button", name="Sound on").click()
    assert heard_after_an_order("Quiet again")[0] == []
    assert kitchen.complaints == []


def test_nothing_moves_while_the_menu_loads_and_a_tap_is_shown(chromium, open_shop):
    page = visit(chromium)
    page.goto(open_shop.url, wait_until="networkidle")
    page.get_by_role("button", name="Add Fries", exact=True).click()
    page.locator(".cart-bar", has_text="€3.80").wait_for()
    shift = page.evaluate(
        """() => new Promise((done) => {
            let sum = 0;
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
            }).observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
        })"""
    )
    assert shift <= 0.02
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_targets_are_large_enough_for_a_thumb(chromium, open_shop):
    page = visit(chromium)
    page.goto(open_shop.url)
    page.get_by_role("button", name="Add Fries", exact=True).click()
    page.locator(".cart-bar", has_text="€3.80").wait_for()
    for path in ("/", "/cart/", "/checkout/", "/kitchen/"):
        page.goto(open_shop.url + path)
        assert page.evaluate(SMALL_TARGETS) == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(chromium, open_shop, scheme):
    """Each pair of text and ground that the stylesheet puts together, by the WCAG formula."""
    page = visit(chromium, color_scheme=scheme)
    page.goto(open_shop.url)
    ratios = page.evaluate(
        """() => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const probe = document.body.appendChild(document.createElement("i"));
            const light = (token) => {
                probe.style.color = `var(--${token})`;
                canvas.fillStyle = getComputedStyle(probe).color;
                canvas.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
                    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const pairs = [
                ["ink", "ground"], ["ink", "surface"], ["ink", "sunken"], ["ink-quiet", "ground"],
                ["ink-quiet", "surface"], ["ink-quiet", "sunken"], ["accent", "ground"], ["accent", "surface"],
                ["on-accent", "accent"], ["on-accent", "accent-pressed"], ["good", "good-ground"],
                ["warn", "warn-ground"], ["bad", "bad-ground"], ["bad", "ground"], ["ground", "good"],
                ["ink-quiet", "good-ground"], ["ink-quiet", "bad-ground"], ["accent", "bad-ground"],
            ];
            return pairs.map(([text, ground]) => {
                const [a, b] = [light(text), light(ground)];
                return [`${text} on ${ground}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
            });
        }"""
    )
    assert [pair for pair in ratios if pair[1] < 4.5] == []
