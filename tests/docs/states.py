"""The table of a stage's states and what may follow, as docs/architecture.md shows it."""

from __future__ import annotations

from pipelines.states import ENDED, TRANSITIONS, State

MEANING = {
    State.PENDING: "its needs are not met yet",
    State.WAITING: "for a person, a lock, a window or an engine; the reason says which",
    State.QUEUED: "a worker may take it",
    State.RUNNING: "a worker has it, or its plan is being made",
    State.UNKNOWN: "contact was lost; it is being probed, or waits for a person to look",
    State.SUCCEEDED: "the work was done",
    State.FAILED: "the work said no",
    State.ERROR: "the machinery broke",
    State.SKIPPED: "its condition was false, or a person skipped it",
    State.OMITTED: "its needs cannot be met any more",
    State.CANCELED: "it was stopped, or never began because the run was",
    State.REJECTED: "a person said no, or its gate expired",
}


def table() -> str:
    rows = ["| state | meaning | may become |", "|---|---|---|"]
    for state in State:
        following = ", ".join(f"`{other}`" for other in State if other in TRANSITIONS[state])
        name = f"**`{state}`**" if state in ENDED else f"`{state}`"
        rows.append(f"| {name} | {MEANING[state]} | {following} |")
    return "\n".join(rows) + "\n"
