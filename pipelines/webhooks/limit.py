"""Bodies that are too large are refused while they arrive: Django itself would first take all of one in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

HOOK_LIMIT = 2**20
API_LIMIT = 2 * 2**20
LIMITS: Mapping[str, int] = {"/hooks/": HOOK_LIMIT, "/api/": API_LIMIT}
TOO_LARGE = "The body is larger than {limit} MiB, which is the most that is read here."
LINGER = 1.0  # seconds for which the rest is thrown away, so that a client in mid-sentence still hears the answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: bodies sent to addresses that begin with a key of `limits` have at most so many bytes. `trusted`
    says of a request whether it may send as much as it likes, before anything of that is read."""

    def __init__(
        self,
        app: App,
        limits: Mapping[str, int] = LIMITS,
        trusted: Callable[[Mapping[str, Any]], bool] = lambda _: False,
    ) -> None:
        self.app = app
        self.limits = limits
        self.trusted = trusted

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        limit = self._limit(scope)
        if limit is None or self.trusted(scope):
            await self.app(scope, receive, send)
            return
        if _announced(scope) > limit:
            await _refuse(receive, send, limit)
            return
        taken: list[Message] = []
        size = 0
        while not taken or taken[-1].get("more_body"):
            message = await receive()
            taken.append(message)
            size += len(message.get("body", b""))
            if size > limit:
                await _refuse(receive, send, limit)
                return

        async def again() -> Message:
            return taken.pop(0) if taken else await receive()

        await self.app(scope, again, send)

    def _limit(self, scope: Mapping[str, Any]) -> int | None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            return None
        return next((limit for start, limit in self.limits.items() if scope["path"].startswith(start)), None)


def _announced(scope: Mapping[str, Any]) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


async def _refuse(receive: Receive, send: Send, limit: int) -> None:
    body = json.dumps({"detail": TOO_LARGE.format(limit=limit // 2**20)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
