"""The sockets. They only ever send; what they follow is shared by all sockets of this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from pipelines.models import Run

from . import access
from .access import BAD_REQUEST, NOT_FOUND, Guard
from .follower import Follower, Place
from .nudges import Inbox, Nudges
from .reading import Unreadable
from .wakeups import Doorbell

log = logging.getLogger(__name__)

INTERNAL_ERROR, TRY_AGAIN_LATER = 1011, 1013

wakeups = Doorbell()
follower = Follower(wakeups)
nudges = Nudges(wakeups)
guard = Guard()


def shut_down() -> None:
    """Stop looking. Sockets are closed by the server."""
    for part in (follower, nudges, guard):
        part.stop()
    wakeups.close()


class Gone(Exception):
    """The client has left. Nothing is wrong: it asks for what it missed when it comes back."""


class Refused(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class LiveConsumer(AsyncWebsocketConsumer):
    """Lets members in, then sends what `stream` sends until either side closes."""

    # Events reach all followers of a run directly; a message to each through a layer took many times as long.
    channel_layer_alias = None

    session_key = ""
    _streaming: asyncio.Task[None] | None = None

    async def stream(self) -> Coroutine[Any, Any, None]:
        """Check what is asked for (else raise Refused) and return what sends it for ever."""
        raise NotImplementedError

    async def connect(self) -> None:
        self.session_key = self.scope["cookies"].get(settings.SESSION_COOKIE_NAME, "")
        # A browser only shows a code and a reason for a socket that was open.
        await self.accept()
        try:
            if refused := await guard.ask(access.refusal, self.session_key):
                await self.close(*refused)
                return
            streaming = await self.stream()
        except Refused as refusal:
            await self.close(refusal.code, refusal.reason)
        except Unreadable:
            await self.close(TRY_AGAIN_LATER, "The database does not answer.")
        else:
            guard.add(self)
            self._streaming = asyncio.create_task(self._stream(streaming))

    async def _stream(self, streaming: Coroutine[Any, Any, None]) -> None:
        try:
            await streaming
        except Gone:
            pass
        except Exception:
            log.exception("A live socket failed")
            await self.close(INTERNAL_ERROR, "Something broke here.")

    async def say(self, text: str) -> None:
        try:
            await self.send(text_data=text)
        # What servers raise when the client has closed, or is about to.
        except (OSError, RuntimeError) as error:
            raise Gone from error

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.close(BAD_REQUEST, "Nothing is expected from you here.")

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self._end()
        with contextlib.suppress(OSError, RuntimeError):
            await super().close(code=code, reason=reason)

    async def disconnect(self, code: int) -> None:
        self._end()

    def _end(self) -> None:
        guard.discard(self)
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None


class RunConsumer(LiveConsumer):
    """`ws/runs/<pipeline>/<number>/?since=<seq>`: the events of a run behind the number that the client has."""

    async def stream(self) -> Coroutine[Any, Any, None]:
        asked = self.scope["url_route"]["kwargs"]
        since = parse_qs(self.scope["query_string"].decode("latin-1")).get("since", ["0"])[-1]
        if not (since.isascii() and since.isdigit() and len(since) <= 18):
            raise Refused(BAD_REQUEST, "since has to be the number of the last event that you have.")
        found = await follower.catching_up(_find, asked["pipeline"], asked["number"])
        if found is None:
            raise Refused(NOT_FOUND, f"There is no run {asked['number']} of {asked['pipeline']}.")
        run, last = found
        if int(since) > last:
            raise Refused(BAD_REQUEST, f"The run has {last} events, not {since}: reload the page.")
        return Place(run, int(since), self.say).follow(follower)


def _find(pipeline: str, number: int) -> tuple[int, int] | None:
    """A run's key and its last event number."""
    return Run.objects.filter(pipeline__slug=pipeline, number=number).values_list("pk", "last_seq").first()


class PortalConsumer(LiveConsumer):
    """`ws/portal/`: which runs changed, for pages that list many."""

    async def stream(self) -> Coroutine[Any, Any, None]:
        return Inbox(self.say).follow(nudges)
