"""What travels to the browser, read from the event table. Everything in here blocks: call it in a thread.

A frame is one JSON text:
    {"type": "events", "last": 7, "events": [{"seq", "kind", "stage", "attempt", "at", "data"}, ...]}
    {"type": "live", "last": 7}                       everything up to 7 was sent; what follows is new
    {"type": "changed", "kinds": ["stage"], "runs": [{"pk", "pipeline", "number", "state"}]}    list pages only
Pages that can open no socket ask for the first again and again; with "more": true there are others behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.models import Event, Run
from portal.visible import every, formats, visible

# One frame holds at most so many events, and takes no more once it has so much text. Rows are fetched a few at a
# time, since each may be a long piece of log.
MOST_EVENTS = 500
MOST_CHARACTERS = 256 * 1024
FETCHED = 50


@dataclass(frozen=True, slots=True)
class Batch:
    """The events `first` to `last` of a run as one frame. `more`: there are others behind it already."""

    first: int
    last: int
    text: str
    more: bool


def read(run: int, after: int) -> Batch | None:
    """The events of a run behind number `after`; None when there are none. The numbers have no gaps."""
    encoded: list[str] = []
    characters, last, more = 0, after, True
    while more and len(encoded) < MOST_EVENTS and characters < MOST_CHARACTERS:
        rows = list(_rows(run, last))
        for seq, kind, stage, attempt, at, data in rows:
            # A page puts these texts straight into its lines, and takes the colours out of logs itself.
            shown = every(data, formats if kind == "log" else visible)
            event = {"seq": seq, "kind": kind, "stage": stage, "attempt": attempt, "at": at.isoformat(), "data": shown}
            encoded.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
            characters += len(encoded[-1])
            last = seq
        more = len(rows) == FETCHED
    if not encoded:
        return None
    text = f'{{"type":"events","last":{last},"events":[{",".join(encoded)}]}}'
    return Batch(last - len(encoded) + 1, last, text, more)


def _rows(run: int, after: int) -> Iterable[tuple[int, str, int | None, int | None, datetime, Any]]:
    fields = ("seq", "kind", "stage", "attempt", "at", "data")
    return Event.objects.filter(run=run, seq__gt=after).order_by("seq").values_list(*fields)[:FETCHED]


def read_new(positions: Mapping[int, int]) -> dict[int, Batch]:
    """For each run, given the number that is known of it, what came after; runs without news are left out."""
    moved: Iterable[int] = positions
    if len(positions) > 2:
        # The number on the run is written together with its events, so one small query tells which runs have any.
        heads = Run.objects.filter(pk__in=positions).values_list("pk", "last_seq")
        moved = [run for run, head in heads if head > positions[run]]
    return {run: batch for run in moved if (batch := read(run, positions[run]))}


def polled(batch: Batch | None, since: int) -> str:
    """The frame of a batch for a page that polls, or an empty one; `more` says whether to ask again at once."""
    if batch is None:
        return json.dumps({"type": "events", "last": since, "events": [], "more": False})
    return f'{batch.text[:-1]},"more":{json.dumps(batch.more)}}}'


def live(last: int | None) -> str:
    return json.dumps({"type": "live", "last": last})


def changed(kinds: Iterable[str], runs: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"type": "changed", "kinds": sorted(kinds), "runs": list(runs)})
