"""The shop's menu against a bare view behind Django's cache, on the same server: `python -m tests.bench.menu`.

Both are asked in turns by a client that only counts bytes: what the shop adds to what Django costs anyway is seen.
"""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import urlsplit

from .result import Result, median, tell
from .shop_place import shop, visitor

CLIENTS, ROUNDS, SECONDS = 8, 9, 1.5
CART_GOAL = 4.0
GOAL = 1.25  # times the time of a request: 0.8 of the requests a second


async def _ask(host: str, port: int, request: bytes, ends: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    answered = 0
    while time.monotonic() < ends:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"Expected 200, found {head[:40]!r}.")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        answered += 1
    writer.close()
    return answered


def per_request(url: str, path: str, cookie: str = "", seconds: float = SECONDS) -> float:
    """Milliseconds of a server's time for each request, with all clients asking at once."""
    parts = urlsplit(url)
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", *([f"Cookie: {cookie}"] if cookie else []), "", ""]
    request = "\r\n".join(lines).encode()

    async def all_of_them() -> int:
        ends = time.monotonic() + seconds
        asked = (_ask(str(parts.hostname), int(parts.port or 80), request, ends) for _ in range(CLIENTS))
        return sum(await asyncio.gather(*asked))

    return seconds * 1000 / asyncio.run(all_of_them())


def main() -> None:
    with shop() as url:
        carrying = visitor(url)
        asked = {"bare": ("/bare/", ""), "menu": ("/", ""), "cart": ("/", carrying)}
        times: dict[str, list[float]] = {name: [] for name in asked}
        for path, cookie in asked.values():
            per_request(url, path, cookie, 0.5)
        for _ in range(ROUNDS):
            for name, (path, cookie) in asked.items():
                times[name].append(per_request(url, path, cookie))
    floor = median(times["bare"])
    tell(
        [
            Result("the menu, a request", median(times["menu"]), floor, GOAL, "ms"),
            Result("the menu with three things in the cart", median(times["cart"]), floor, CART_GOAL, "ms"),
        ]
    )


if __name__ == "__main__":
    main()
