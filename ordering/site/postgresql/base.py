"""Connecting is tried again for a moment: nothing was asked yet, so whoever waits loses nothing.

A name that cannot be looked up, or a database that starts again, costs its customers seconds, and no error.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from django.db.backends.postgresql import base

# How long connecting is tried again (seconds), and how long it is left alone in between.
PATIENCE = 5.0
PAUSE = 0.1
# So many requests wait at once: where it is away for long, those behind them are told so at once.
MOST = 64
_waiting = threading.BoundedSemaphore(MOST)
# Trying these again would not help.
_FINAL = ("authentication failed", "does not exist", "no pg_hba.conf entry")


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError as error:
            if any(text in str(error) for text in _FINAL) or not _waiting.acquire(blocking=False):
                raise
        try:
            return self._connected_at_last(conn_params, time.monotonic() + PATIENCE)
        finally:
            _waiting.release()

    def _connected_at_last(self, conn_params: dict[str, Any], until: float) -> Any:
        while True:
            time.sleep(PAUSE)
            try:
                return super().get_new_connection(conn_params)
            except psycopg.OperationalError:
                if time.monotonic() >= until:
                    raise
