"""What django-q2 calls. A few lines each: the work is described by our own rows."""

from __future__ import annotations

import time

from . import intake
from .claim import Stay, Taken, next_attempt
from .identity import me
from .worker import carry_out

STAY = 1.0  # seconds at one run, after which what waits elsewhere may be older
PAUSE = 0.02  # seconds in which those who are changing a run at the same moment get on with it


def work() -> None:
    """Take whatever is ready, one after another, until nothing is."""
    while intake.take_one(me()) or _work_on_a_run():
        pass


def _work_on_a_run() -> bool:
    """Do the stage that is ready the longest, then go on with its run; False if there is none."""
    try:
        claimed = next_attempt(me())
    except Taken:
        time.sleep(PAUSE)
        return True
    if claimed is None:
        return False
    stay = Stay(claimed, me(), STAY)
    while claimed is not None:
        claimed = carry_out(claimed, stay)
    if stay.crowded:
        time.sleep(PAUSE)
    return True
