"""Serving with uvicorn so that no request is lost when the server is told to stop. Knows nothing of
Django."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import FrameType
from typing import Any

import uvicorn

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


# Whether this process takes requests, whatever it needs for them: what a router in front asks again and again. Were the
# database part of it, all replicas would leave the traffic together when that is slow, and nobody would answer at all.
READY = "/readyz"
# A classic BPF program for a listening socket: a packet begins with its TCP header, whose byte 13 holds the flags.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load that byte
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
)
_SO_ATTACH_FILTER = 26
# How long connections may stay without asking for anything once no new one is taken any more (seconds).
_SETTLE = 1.0
# The same for one that has never asked: who opens it is about to, and may be on a machine that is as busy.
_FIRST = 10.0
# Looks in a row at which nothing waits to be accepted: what was accepted at one is known as a connection two later,
# even where the machine is so busy that each turn of the loop brings a look.
_QUIET = 3
# Where the kernel does not hold new connections back, some may come all the time (seconds).
_LONGEST = 20.0


class DrainingServer(uvicorn.Server):
    """On SIGTERM it goes on serving for `drain` seconds, tells each client to close its connection, and then ends.

    So a router has time to look elsewhere, and no kept-alive connection is closed while a request is on its way.
    Last, no new connection begins, those that have begun are accepted and answered, and only then the port is
    closed: closing it at once would reset what the kernel has accepted and we have not.
    """

    def __init__(self, config: uvicorn.Config, *, drain: float) -> None:
        super().__init__(config)
        self.drain = drain
        self.close_at: float | None = None
        self.closed_at: float | None = None
        self._quiet = 0
        self._known: set[Any] = set()

    @property
    def draining(self) -> bool:
        return self.close_at is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT or self.draining:
            super().handle_exit(sig, frame)
            return
        self.close_at = time.monotonic() + self.drain

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._drained(time.monotonic())

    def _drained(self, now: float) -> bool:
        if self.close_at is None or now < self.close_at:
            return False
        if self.closed_at is None:
            self.closed_at = now
            self._refuse_new_connections()
            return False
        if self.server_state.connections - self._known:
            self._known = set(self.server_state.connections)
            self.closed_at = now  # who has just come has not asked yet
        self._quiet = 0 if self._anybody_waits() else self._quiet + 1
        settled = now >= self.closed_at + self._patience()
        return (settled and self._quiet >= _QUIET) or now >= self.close_at + _LONGEST

    def _patience(self) -> float:
        if not self.server_state.connections:
            return 0.0
        return _FIRST if any(not getattr(one, "cycle", one) for one in self.server_state.connections) else _SETTLE

    def _listeners(self) -> list[Any]:
        return [listener for server in self.servers for listener in server.sockets]

    def _anybody_waits(self) -> bool:
        """Whether a connection that the kernel has taken is still to be accepted."""
        return bool(select.select(self._listeners(), [], [], 0)[0])

    def _refuse_new_connections(self) -> None:
        """Let the kernel drop each new SYN, which the client then sends again, to a closed port or to a successor."""
        if not sys.platform.startswith("linux"):
            return
        program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
        steps = ctypes.create_string_buffer(program, len(program))
        option = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(steps))
        for listener in self._listeners():
            with socket.socket(fileno=os.dup(listener.fileno())) as same:
                try:
                    same.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
                except OSError as error:
                    logger.warning("New connections cannot be held back while stopping: %s", error)


def closing_while(app: App, draining: Callable[[], bool]) -> App:
    """The same app, with READY before it; while `draining`, each response asks for the connection to be closed, and
    /healthz and READY answer 503."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif not draining():
            if scope["path"] == READY:
                await _say(send, 200, b'{"state": "ok"}')
            else:
                await app(scope, receive, send)
        elif scope["path"] in ("/healthz", READY):
            await _say(_closing(send), 503, b'{"state": "stopping"}')
        else:
            await app(scope, receive, _closing(send))

    return wrapped


async def _say(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _closing(send: Send) -> Send:
    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        await send(message)

    return send_closing


def within(app: App, most: int, of: Mapping[str, int]) -> App:
    """The same app; a body of more than `most` bytes, or than `of` has for its path, is answered with 413 and not read
    on: an app reads, and keeps, the whole of it before it looks."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        limit, taken, too_large = of.get(scope["path"], most), 0, False
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and int(length) > limit:
            await _refuse(send)
            return

        async def counted() -> Message:
            nonlocal taken, too_large
            message = await receive()
            taken += len(message.get("body", b""))
            too_large = too_large or taken > limit
            return {"type": "http.disconnect"} if too_large else message

        await app(scope, counted, send)
        if too_large:
            await _refuse(send)

    return wrapped


async def _refuse(send: Send) -> None:
    headers = [(b"connection", b"close"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every server of the shop has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--drain", type=float, default=0.5, help="seconds to go on serving after SIGTERM")
    parser.add_argument("--grace", type=int, default=30, help="seconds that running requests may still take")
    parser.add_argument("--access-log", action="store_true", help="log each request")
    return parser


def run(app: App, options: argparse.Namespace) -> None:
    """Serve until told to stop; returns once every request that came in has its answer."""
    servers: list[DrainingServer] = []
    config = uvicorn.Config(
        closing_while(app, lambda: any(server.draining for server in servers)),
        host=options.host,
        port=options.port,
        lifespan="off",
        access_log=options.access_log,
        log_level="info" if options.access_log else "warning",
        server_header=False,
        # Which forwarded address to believe is decided where it matters, in ordering.access.
        proxy_headers=False,
        timeout_graceful_shutdown=options.grace,
        timeout_keep_alive=75,
    )
    servers.append(DrainingServer(config, drain=options.drain))
    servers[0].run()
