"""Who may open a socket, and who may keep it: asked again while it is open, since a session outlives neither a sign
out nor the last membership."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.contrib.auth import get_user
from django.http.request import split_domain_port, validate_host

from teams.models import User
from teams.policy import ANONYMOUS, Action, Actor, can

from .reading import Reader, Unreadable

log = logging.getLogger(__name__)

# Close codes. A page does not come back by itself after one of these.
BAD_REQUEST, SIGN_IN, FORBIDDEN, NOT_FOUND = 4400, 4401, 4403, 4404
RECHECK = 30.0  # seconds


def refusal(session_key: str) -> tuple[int, str] | None:
    """Why the owner of a session may not watch, as close code and sentence; None when they may. Blocks."""
    actor = _actor(session_key)
    verdict = can(actor, Action.VIEW)
    if verdict:
        return None
    return (FORBIDDEN if actor.username else SIGN_IN), verdict.reason


def _actor(session_key: str) -> Actor:
    if not session_key:
        return ANONYMOUS
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    # It also refuses a session from before a change of password, and people who were made inactive.
    user = get_user(SimpleNamespace(session=store))  # type: ignore[arg-type]
    return user.as_actor() if isinstance(user, User) else ANONYMOUS


class Watched(Protocol):
    session_key: str

    async def close(self, code: int, reason: str) -> None: ...


class Guard:
    """Closes the sockets of those who may not watch any more. One question for each session, however many sockets."""

    def __init__(self) -> None:
        self.ask = Reader("access")
        self._watched: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, socket: Watched) -> None:
        self._watched.add(socket)
        if self._task is None:
            self._task = asyncio.create_task(self._recheck_for_ever(), name="live-guard")

    def discard(self, socket: Watched) -> None:
        self._watched.discard(socket)
        if not self._watched:
            self.stop()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _recheck_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RECHECK)
            for session_key in {socket.session_key for socket in self._watched}:
                try:
                    refused = await self.ask(refusal, session_key)
                except Unreadable:
                    continue
                if refused:
                    await self._close_all(session_key, *refused)

    async def _close_all(self, session_key: str, code: int, reason: str) -> None:
        for socket in [socket for socket in self._watched if socket.session_key == session_key]:
            await socket.close(code=code, reason=reason)


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def same_origin_only(application: Application) -> Application:
    """Refuse sockets that another site opens in a visitor's name.

    A port counts too: the applications that are delivered may be served from the portal's own host, on other ports,
    and a browser sends the portal's cookie there as well.
    """

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        allowed = is_own_origin(headers.get(b"origin", ""), headers.get(b"host", ""))
        await (application if allowed else WebsocketDenier())(scope, receive, send)

    return guarded


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` is one of the portal's, which was asked for as `host`."""
    if origin in {settings.PUBLIC_URL, *settings.CSRF_TRUSTED_ORIGINS}:
        return True
    domain, _ = split_domain_port(host.lower())
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
