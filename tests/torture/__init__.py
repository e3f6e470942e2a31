"""Tests that kill, flood and race. Few rounds by default; `make torture` sets BURGER_TORTURE=1 for the full count."""

from __future__ import annotations

import os

FULL = os.environ.get("BURGER_TORTURE") == "1"


def count(few: int, full: int) -> int:
    """How many rounds: `few` with the other tests, `full` by `make torture`."""
    return full if FULL else few
