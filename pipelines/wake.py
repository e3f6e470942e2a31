"""Telling idle workers that there is something to do. The task is only a wake-up: the work stands in the rows."""

from __future__ import annotations

import threading

from django.conf import settings
from django_q.tasks import async_task

from . import doorbell

_here = threading.local()


class working:  # noqa: N801 reads as a word in a with statement
    """While a worker is in here, it will take the next ready stage itself, so one wake-up fewer is needed."""

    def __enter__(self) -> None:
        _here.working = True

    def __exit__(self, *_: object) -> None:
        _here.working = False


def workers(count: int) -> None:
    """Wake up to `count` workers once the present transaction is in the database."""
    count = min(count, settings.WORKERS) - (1 if getattr(_here, "working", False) else 0)
    for _ in range(count):
        async_task("pipelines.engines.local.tasks.work")
    if count > 0:
        doorbell.ring_on_commit(doorbell.WORK)
