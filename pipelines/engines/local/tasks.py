"""What django-q2 calls. A few lines each: the work is described by our own rows."""

from __future__ import annotations

from . import intake
from .claim import Stay, next_attempt
from .identity import me
from .worker import carry_out

STAY = 1.0  # seconds at one run, after which what waits elsewhere may be older


def work() -> None:
    """Take whatever is ready, one after another, until nothing is."""
    while intake.take_one(me()) or _work_on_a_run():
        pass


def _work_on_a_run() -> bool:
    """Do the stage that is ready the longest, then go on with its run; False if there is none."""
    claimed = next_attempt(me())
    if claimed is None:
        return False
    stay = Stay(claimed, me(), STAY)
    while claimed is not None:
        claimed = carry_out(claimed, stay)
    return True
