"""What django-q2 calls. A few lines each: the work is described by our own rows."""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, InterfaceError, connections

from pipelines.outages import is_outage

from . import intake
from .claim import Stay, Taken, next_attempt
from .identity import me
from .worker import carry_out

log = logging.getLogger(__name__)

STAY = 1.0  # seconds at one run, after which what waits elsewhere may be older
PAUSES = (0.01, 0.16)  # seconds: the first and the longest in which those who are at a run get on with it


def work() -> None:
    """Take whatever is ready, one after another, until nothing is."""
    pause, longest = PAUSES
    while True:
        try:
            if not (intake.take_one(me()) or _work_on_a_run()):
                return
            pause = PAUSES[0]
        except Taken:
            time.sleep(pause)
            pause = min(longest, pause * 2)
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            # What is ready stays so; the sweeper wakes somebody up for it.
            log.warning("Nothing can be taken now: %s", error)
            connections.close_all()
            return


def _work_on_a_run() -> bool:
    """Do the stage that is ready the longest, then go on with its run; False if there is none. Raises Taken."""
    claimed = next_attempt(me())
    if claimed is None:
        return False
    stay = Stay(claimed, me(), STAY)
    while claimed is not None:
        claimed = carry_out(claimed, stay)
    if stay.crowded:
        raise Taken
    return True
