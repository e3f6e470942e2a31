"""The states of a stage and of a run, and the one table of allowed changes. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    PENDING = "pending"  # its needs are not met yet
    WAITING = "waiting"  # for a person, a lock, a window or an engine: see Reason
    QUEUED = "queued"  # a worker may take it
    RUNNING = "running"
    UNKNOWN = "unknown"  # contact was lost; it is being probed
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the work said no
    ERROR = "error"  # the machinery broke
    SKIPPED = "skipped"  # its condition was false, or a person skipped it
    OMITTED = "omitted"  # its needs cannot be met any more
    CANCELED = "canceled"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a stage waits."""

    APPROVAL = "approval"
    LOCK = "lock"
    WINDOW = "window"
    ENGINE = "engine"


ENDED = frozenset(
    {
        State.SUCCEEDED,
        State.FAILED,
        State.ERROR,
        State.SKIPPED,
        State.OMITTED,
        State.CANCELED,
        State.REJECTED,
    }
)
AGAIN = (State.FAILED, State.ERROR, State.CANCELED, State.REJECTED)  # what "retry from failed" takes up
ACTIVE = frozenset({State.WAITING, State.QUEUED, State.RUNNING, State.UNKNOWN})

_NO_MORE = {State.SKIPPED, State.OMITTED, State.CANCELED}

# From each state, the states that may follow. An ended stage is only taken up again by a retry.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.WAITING, State.QUEUED} | _NO_MORE),
    State.WAITING: frozenset({State.WAITING, State.QUEUED, State.REJECTED, State.SUCCEEDED} | _NO_MORE),
    State.QUEUED: frozenset({State.WAITING, State.QUEUED, State.RUNNING, State.ERROR} | _NO_MORE),
    State.RUNNING: frozenset(
        {State.WAITING, State.QUEUED, State.RUNNING, State.UNKNOWN, State.SUCCEEDED, State.FAILED, State.ERROR}
        | {State.CANCELED, State.SKIPPED, State.REJECTED}
    ),
    State.UNKNOWN: frozenset(
        {State.RUNNING, State.QUEUED, State.WAITING, State.SUCCEEDED, State.FAILED, State.ERROR}
        | {State.UNKNOWN, State.CANCELED, State.SKIPPED}
    ),
    State.SUCCEEDED: frozenset({State.PENDING}),
    State.FAILED: frozenset({State.PENDING, State.SKIPPED}),
    State.ERROR: frozenset({State.PENDING, State.SKIPPED}),
    State.SKIPPED: frozenset({State.PENDING}),
    State.OMITTED: frozenset({State.PENDING}),
    State.CANCELED: frozenset({State.PENDING}),
    State.REJECTED: frozenset({State.PENDING}),
}


class RunState(StrEnum):
    """Computed from the stages by `dag.run_state`; stored so that lists can be filtered."""

    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"
    REJECTED = "rejected"


# The engine of runs that show a Workflow of Argo as it is: what runs when is decided there.
MIRRORED = "workflow"
RUN_ENDED = frozenset(RunState) - {RunState.RUNNING, RunState.WAITING}


class IllegalTransition(Exception):
    def __init__(self, name: str, old: str, new: str) -> None:
        allowed = ", ".join(sorted(TRANSITIONS[State(old)])) or "nothing"
        super().__init__(f"Stage {name} is {old} and cannot become {new}; it can become {allowed}.")


def check(name: str, old: str, new: str) -> None:
    """Raise IllegalTransition unless a stage in state `old` may become `new`."""
    if State(new) not in TRANSITIONS[State(old)]:
        raise IllegalTransition(name, old, new)
