"""Browsers that report: so many beacons a second over kept-alive connections, from one process."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence

CONNECTIONS = 16
ROUTES = ("menu", "cart", "checkout", "order")
DEVICES = ("phone", "tablet", "desktop")


def bodies(token_of: Callable[[str], str], count: int, seed: int = 0) -> list[bytes]:
    """Views as of real people: spread over routes and devices, with values of every size."""
    chance = random.Random(seed)
    tokens = {route: token_of(route) for route in ROUTES}
    return [
        json.dumps(
            {
                "t": tokens[chance.choice(ROUTES)],
                "d": chance.choice(DEVICES),
                "n": "navigate",
                "m": {
                    "TTFB": round(chance.lognormvariate(4.5, 0.6), 1),
                    "FCP": round(chance.lognormvariate(6.4, 0.5), 1),
                    "LCP": round(chance.lognormvariate(6.8, 0.5), 1),
                    "INP": round(chance.lognormvariate(4.3, 0.7)),
                    "CLS": round(chance.random() ** 4 / 5, 4),
                },
            }
        ).encode()
        for _ in range(count)
    ]


class Sent:
    """`times` of the answers in seconds, and `answers` by status."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.answers: dict[int, int] = {}


async def send(port: int, path: str, what: Sequence[bytes], seconds: float) -> Sent:
    """Send all of them, evenly over so many seconds. A connection that breaks is made anew; its beacon counts as 0."""
    sent, turn = Sent(), iter(range(len(what)))
    began = time.monotonic()

    async def one_connection() -> None:
        reader = writer = None
        for number in turn:
            await asyncio.sleep(max(0.0, began + seconds * number / len(what) - time.monotonic()))
            asked = time.perf_counter()
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                status = await _post(reader, writer, path, what[number])
            except (OSError, asyncio.IncompleteReadError):
                status = 0
                if writer is not None:
                    writer.close()
                reader = writer = None
            sent.times.append(time.perf_counter() - asked)
            sent.answers[status] = sent.answers.get(status, 0) + 1
        if writer is not None:
            writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return sent


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> int:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if b"connection: close" in answer.lower():
        raise ConnectionResetError
    return int(answer.split(b" ", 2)[1])
