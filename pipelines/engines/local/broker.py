"""django-q2's ORM broker, woken by the doorbell instead of by its own polling.

A wake-up is taken off the queue when it is read: it says "look", not what to do, so there is nothing to repeat.
"""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, InterfaceError, connections
from django_q.brokers.orm import ORM
from django_q.conf import Conf

from pipelines import doorbell
from pipelines.outages import is_outage

log = logging.getLogger(__name__)

AFTER_A_FAILURE = 1.0  # seconds
LOOK = 5.0  # seconds after which it looks without having been rung


class WakeUpBroker(ORM):
    """Made by django-q2: once in each process that enqueues, and once in the cluster's pusher, which dequeues."""

    _bell: doorbell.Bell | None = None

    def dequeue(self) -> list[tuple[None, str]] | None:
        if self._bell is None:
            self._bell = doorbell.Bell(doorbell.WORK)
        try:
            return self._take(self._bell)
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            # Raised, it would end this process, and keep it away for longer than most outages last.
            log.warning("The queue cannot be read, trying again in %s s: %s", AFTER_A_FAILURE, error)
            connections.close_all()
            time.sleep(AFTER_A_FAILURE)
            return None

    def _take(self, bell: doorbell.Bell) -> list[tuple[None, str]] | None:
        rows = list(self.get_connection().filter(key=self.list_key).order_by("id")[: Conf.BULK])
        if not rows:
            bell.wait(LOOK)
            return None
        self.get_connection().filter(pk__in=[row.pk for row in rows]).delete()
        return [(None, row.payload) for row in rows]
