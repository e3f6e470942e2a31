"""Database reads of live sockets: in threads of their own, so that neither pages nor sockets wait for each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection

log = logging.getLogger(__name__)
T = TypeVar("T")


class Unreadable(Exception):
    """The database did not answer. Try again later."""


class Reader:
    """Runs blocking functions in `threads` threads, each with its own database connection."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"live-{name}")

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T:
        """Raises Unreadable when the database fails; the next call then has a new connection."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _read, function, *arguments)


def _read(function: Callable[..., T], *arguments: object) -> T:
    try:
        return function(*arguments)
    except (DatabaseError, InterfaceError) as error:
        log.warning("Live events cannot be read: %s", error)
        connection.close()
        raise Unreadable from error
