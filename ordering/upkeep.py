"""What nobody waits for: payments without an answer are found out, refunds done, mails sent. Any number of servers may
do it at the same time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, connection

from ordering import outbox
from ordering.payments import settling

logger = logging.getLogger(__name__)

# Seconds from the end of one round to the next.
PAUSE = 1.0


def once() -> int:
    """One round. Returns how much was done. Raises what the database raises."""
    return settling.reconcile() + outbox.deliver()


def keep_up(stopped: threading.Event, *, pause: float = PAUSE) -> None:
    """Rounds until `stopped` is set. What breaks a round is said once, and the next one tries again."""
    said = ""
    while not stopped.is_set():
        try:
            once()
            said = ""
        except Exception as error:
            # A migration that is still to come, a database that is away, a provider's bug: none may end the loop.
            if str(error) != said:
                logger.warning("Payments and mails wait: %s", error, exc_info=not isinstance(error, DatabaseError))
            said = str(error)
            connection.close()
        stopped.wait(pause)
    connection.close()


def in_background() -> Callable[[], None]:
    """Start the rounds in a thread of this process. Returns what ends them, which waits for the present one."""
    stopped = threading.Event()
    thread = threading.Thread(target=keep_up, args=(stopped,), name="shop-upkeep", daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join(timeout=10)

    return stop
