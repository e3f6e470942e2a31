"""When an environment may not be changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter


@dataclass(frozen=True, slots=True)
class Frozen:
    until: datetime
    reason: str


def frozen_until(windows: Iterable[Mapping[str, Any]], now: datetime) -> Frozen | None:
    """The freeze that holds at `now`, the one that ends last if there are several. `windows` hold the fields of
    `definition.model.Freeze`; `now` must know its time zone."""
    hits = [
        Frozen(end, window["reason"]) for window in windows for start, end in _spans(window, now) if start <= now < end
    ]
    return max(hits, key=lambda hit: hit.until, default=None)


def _spans(window: Mapping[str, Any], now: datetime) -> Iterable[tuple[datetime, datetime]]:
    if window.get("start"):
        yield datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["end"])
    else:
        local = now.astimezone(ZoneInfo(window.get("timezone") or "UTC"))
        # One second on, so that a window which opens this very moment counts as open.
        opened = croniter(window["cron"], local + timedelta(seconds=1)).get_prev(datetime)
        yield opened, opened + timedelta(seconds=window["duration"])
