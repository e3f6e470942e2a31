"""What travels to the browser, read from the event table. Everything in here blocks: call it in a thread.

A frame is one JSON text:
    {"type": "events", "last": 7, "events": [{"seq", "kind", "stage", "attempt", "at", "data"}, ...]}
    {"type": "live", "last": 7}                       everything up to 7 was sent; what follows is new
    {"type": "changed", "kinds": ["stage"], "runs": [{"pk", "pipeline", "number", "state"}]}    list pages only
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.models import Event, Run

# One frame holds at most so many events, and is closed once it has so much text.
MOST_EVENTS = 500
MOST_CHARACTERS = 256 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The events `first` to `last` of a run as one frame. `more`: there are others behind it already."""

    first: int
    last: int
    text: str
    more: bool


def read(run: int, after: int) -> Batch | None:
    """The events of a run behind number `after`; None when there are none. The numbers have no gaps."""
    rows = (
        Event.objects.filter(run=run, seq__gt=after)
        .order_by("seq")
        .values_list("seq", "kind", "stage", "attempt", "at", "data")[:MOST_EVENTS]
    )
    encoded: list[str] = []
    characters = 0
    last = after
    for seq, kind, stage, attempt, at, data in rows:
        event = {"seq": seq, "kind": kind, "stage": stage, "attempt": attempt, "at": at.isoformat(), "data": data}
        encoded.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
        last = seq
        characters += len(encoded[-1])
        if characters >= MOST_CHARACTERS:
            break
    if not encoded:
        return None
    text = f'{{"type":"events","last":{last},"events":[{",".join(encoded)}]}}'
    more = len(encoded) == MOST_EVENTS or characters >= MOST_CHARACTERS
    return Batch(last - len(encoded) + 1, last, text, more)


def read_new(positions: Mapping[int, int]) -> dict[int, Batch]:
    """For each run, given the number that is known of it, what came after; runs without news are left out."""
    # The number on the run is written together with its events, so one small query tells which runs have any.
    heads = Run.objects.filter(pk__in=positions).values_list("pk", "last_seq")
    moved = [run for run, head in heads if head > positions[run]]
    return {run: batch for run in moved if (batch := read(run, positions[run]))}


def live(last: int | None) -> str:
    return json.dumps({"type": "live", "last": last})


def changed(kinds: Iterable[str], runs: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"type": "changed", "kinds": sorted(kinds), "runs": list(runs)})
