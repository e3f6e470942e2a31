"""The one door for every change of a run. Page, API, command line, webhook and worker all call these functions.

`start` begins a run, `advance` applies what `dag.decide` says, `record` takes what workers report, `actions` is what
people do. Each changes rows under the run's lock, appends events, and wakes workers and watchers after the commit.
"""

from .actions import (
    cancel,
    override_freeze,
    request,
    rerun,
    retry,
    retry_failed,
    roll_back,
    skip,
    steer,
    terminate,
)
from .advance import advance
from .errors import Conflict, NotAllowed, StaleResult
from .gates import approve, reject
from .mirrored import adopt
from .push import Push, receive
from .record import lost, outcome, planned, produced, progressed, wrote
from .start import start, understood

__all__ = [
    "Conflict", "NotAllowed", "Push", "StaleResult", "adopt", "advance", "approve", "cancel", "lost", "outcome",
    "override_freeze", "planned", "produced", "progressed", "receive", "reject", "request", "rerun", "retry",
    "retry_failed", "roll_back", "skip", "start", "steer", "terminate", "understood", "wrote",
]  # fmt: skip
