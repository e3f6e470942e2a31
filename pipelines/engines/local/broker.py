"""django-q2's ORM broker, woken by the doorbell instead of by its own polling.

A wake-up is taken off the queue when it is read: it says "look", not what to do, so there is nothing to repeat.
"""

from __future__ import annotations

from django_q.brokers.orm import ORM
from django_q.conf import Conf

from pipelines import doorbell

LOOK = 5.0  # seconds after which it looks without having been rung


class WakeUpBroker(ORM):
    """Made by django-q2: once in each process that enqueues, and once in the cluster's pusher, which dequeues."""

    _bell: doorbell.Bell | None = None

    def dequeue(self) -> list[tuple[None, str]] | None:
        if self._bell is None:
            self._bell = doorbell.Bell(doorbell.WORK)
        rows = list(self.get_connection().filter(key=self.list_key).order_by("id")[: Conf.BULK])
        if not rows:
            self._bell.wait(LOOK)
            return None
        self.get_connection().filter(pk__in=[row.pk for row in rows]).delete()
        return [(None, row.payload) for row in rows]
