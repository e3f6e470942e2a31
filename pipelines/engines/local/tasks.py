"""What django-q2 calls. A few lines each: the work is described by our own rows."""

from __future__ import annotations

from . import intake
from .claim import next_attempt
from .worker import carry_out, me


def work() -> None:
    """Take whatever is ready, one after another, until nothing is."""
    while True:
        if intake.take_one(me()):
            continue
        attempt = next_attempt(me())
        if attempt is None:
            return
        carry_out(attempt)
