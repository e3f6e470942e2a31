"""Counts orders once they are stored for good."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from ordering.measure.agent import agent

ROUTE = "checkout"


def placed(*, created: bool, raw: bool = False, **_: Any) -> None:
    """Receives `post_save` of orders."""
    found = agent() if created and not raw else None
    if found is not None:
        transaction.on_commit(lambda: found.tally.order(ROUTE))
