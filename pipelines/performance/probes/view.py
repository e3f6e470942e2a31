"""One view of one page in a browser that has never seen the site."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipelines.performance.probes.devtools import Browser

RELEASE_HEADER, ANSWER_HEADER = "X-Burger-Release", "x-release"
LOAD_WITHIN = 20.0  # seconds
SETTLE = 0.5  # seconds after the last thing loaded, in which late paints and shifts are seen

# Put into the page before its own scripts; what it saw is asked for at the end.
WATCH = """
globalThis.__probe = {};
(() => {
  const seen = globalThis.__probe;
  const observe = (type, take) =>
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  observe("largest-contentful-paint", (entry) => { seen.LCP = entry.startTime; });
  observe("paint", (entry) => { if (entry.name === "first-contentful-paint") seen.FCP = entry.startTime; });
  let burst = 0, first = -Infinity, last = -Infinity;
  seen.CLS = 0;
  observe("layout-shift", ({ startTime, value, hadRecentInput }) => {
    if (hadRecentInput) return;
    if (startTime - last >= 1000 || startTime - first >= 5000) { burst = 0; first = startTime; }
    last = startTime;
    burst += value;
    seen.CLS = Math.max(seen.CLS, burst);
  });
})();
"""
TELL = """JSON.stringify({
  ...globalThis.__probe, TTFB: performance.getEntriesByType("navigation")[0]?.responseStart,
})"""


@dataclass(slots=True)
class View:
    """`values` are vitals by name; none where the page did not load. `problem` says why, "" for a good view. `served`
    is the release that says it answered."""

    status: int = 0
    served: str = ""
    problem: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


def view(browser: Browser, url: str, release: str = "") -> View:
    """Look at a page, of this release where one is named. Raises BrowserError when the browser fails, not the page."""
    context = browser.ask("Target.createBrowserContext")["browserContextId"]
    try:
        return _in_context(browser, context, url, release)
    finally:
        browser.ask("Target.disposeBrowserContext", {"browserContextId": context})


def _in_context(browser: Browser, context: str, url: str, release: str) -> View:
    target = browser.ask("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
    session = browser.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
    page = _Page(url)

    def ask(method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        return browser.ask(method, parameters, session=session, seen=page.seen)

    for domain in ("Page", "Network"):
        ask(f"{domain}.enable")
    ask("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    if release:
        ask("Network.setExtraHTTPHeaders", {"headers": {RELEASE_HEADER: release}})
    if problem := ask("Page.navigate", {"url": url}).get("errorText"):
        return View(problem=f"no answer: {problem}")
    if not browser.follow(page.seen, lambda: page.loaded, LOAD_WITHIN):
        return View(page.status, page.served, f"not loaded within {LOAD_WITHIN:g} s")
    browser.follow(page.seen, lambda: False, SETTLE)
    if not 200 <= page.status < 300:
        return View(page.status, page.served, f"status {page.status}")
    told = ask("Runtime.evaluate", {"expression": TELL})["result"].get("value", "{}")
    values = {name: value for name, value in json.loads(told).items() if isinstance(value, int | float)}
    return View(page.status, page.served, "", values)


class _Page:
    """What its events say of it."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.loaded = False
        self.status, self.served = 0, ""

    def seen(self, event: str, data: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.responseReceived" and data.get("type") == "Document":
            answer = data["response"]
            if urlsplit(answer["url"]).netloc == self.host:
                self.status = int(answer["status"])
                headers = {name.lower(): value for name, value in answer["headers"].items()}
                self.served = str(headers.get(ANSWER_HEADER, ""))[:120]
