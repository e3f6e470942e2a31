"""Rings that reach the other machines, by publish and subscribe of Redis or Valkey.

Like every ring they may get lost: nothing is stored there, and whoever misses one looks by itself a little later.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import cache

import redis
from django.conf import settings

log = logging.getLogger(__name__)

ANSWER = 0.25  # seconds that a ring may take
SPARE = 2.0  # seconds without a ring after one that failed
LOOK = 1.0  # seconds between two looks whether to go on listening, and between two tries to connect

_not_before, _away = 0.0, False


@cache
def _channel(kind: str) -> str:
    """Installations may share a server; their keys differ."""
    return f"burger:{hashlib.sha256(settings.SECRET_KEY.encode()).hexdigest()[:12]}:{kind}"


@cache
def _here() -> bytes:
    """Those who hear the rings in this folder themselves."""
    return f"{socket.gethostname()}:{settings.RUN_DIR}".encode()


@cache
def _client(_pid: int) -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=ANSWER, socket_connect_timeout=ANSWER, retry=None, health_check_interval=0
    )


def ring(kind: str) -> None:
    """Tell the other machines, if there are any. Never fails, and never takes long."""
    global _not_before, _away
    if not settings.REDIS_URL or time.monotonic() < _not_before:
        return
    try:
        _client(os.getpid()).publish(_channel(kind), _here())
        _away = False
    except (redis.RedisError, OSError) as error:
        _not_before = time.monotonic() + SPARE
        if not _away:  # said once, not each second of an outage
            log.warning("Redis takes no ring, so other machines look by themselves: %s", error)
        _away = True


class Ear:
    """Calls `rung` in a thread of its own whenever another machine rings, and once after each new connection: what
    was rung before that is not known."""

    def __init__(self, kind: str, rung: Callable[[], None]) -> None:
        self._channel, self._here, self._rung = _channel(kind), _here(), rung
        self._closed = threading.Event()
        self.connected = threading.Event()
        threading.Thread(target=self._listen_for_ever, name=f"relay-{kind}", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _listen_for_ever(self) -> None:
        told = False
        while not self._closed.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                if self.connected.is_set() or not told:
                    log.warning("Redis cannot be heard, trying again every %s s: %s", LOOK, error)
                told = True
                self.connected.clear()
                self._closed.wait(LOOK)

    def _listen(self) -> None:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=LOOK, socket_timeout=30 * LOOK)
        with client, client.pubsub() as subscription:
            subscription.subscribe(self._channel)
            while not self._closed.is_set():
                message = subscription.get_message(timeout=LOOK)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self.connected.set()
                    self._rung()
                elif message["type"] == "message" and message["data"] != self._here:
                    self._rung()
