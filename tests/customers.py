"""Customers with real browsers, who come and go until a test has seen enough of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

AT_ONCE = 8
# A phone's width is less than a window has: then the browser tells of no interaction before the page is hidden.
WINDOW = {"width": 1000, "height": 800}
PAINTED = """() => new Promise((done) => {
  new PerformanceObserver(done).observe({ type: "largest-contentful-paint", buffered: true });
})"""

# visit(page, number) is what one of them does, the so many-th.
Visit = Callable[[Any, int], Awaitable[None]]


class Customers(threading.Thread):
    """Each visit is somebody else's, without cookies. `seen` is how many are over, `problem` why they stopped."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit, self.seen, self.problem = visit, 0, ""
        self._begun = 0
        self._ended = threading.Event()

    def __enter__(self) -> Customers:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        try:
            asyncio.run(self._all())
        except Exception as error:
            self.problem = repr(error)

    async def _all(self) -> None:
        from playwright.async_api import async_playwright

        async with async_playwright() as tools:
            browser = await tools.chromium.launch(
                executable_path="/usr/bin/chromium",
                # A process for each page of a customer would cost more than the page.
                args=["--no-sandbox", "--disable-blink-features=AutomationControlled", "--renderer-process-limit=1"],
            )
            await asyncio.gather(*(self._one(browser) for _ in range(AT_ONCE)))
            await browser.close()

    async def _one(self, browser: Any) -> None:
        context = await browser.new_context(viewport=WINDOW)
        page = await context.new_page()
        while not self._ended.is_set():
            # Somebody else: the router is free to send them elsewhere.
            await context.clear_cookies()
            self._begun += 1
            # It ends, and is reported, when the page goes to the next one's.
            await self.visit(page, self._begun)
            self.seen += 1
