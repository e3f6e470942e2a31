"""What the portal saw of a site by itself, and what was dropped: as strips and rows that a template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.performance.dashboard import MOST_LINES, Board
from pipelines.performance.sentences import amount
from pipelines.performance.watch import HTTP, Watch, Watched
from pipelines.sentences import for_long

WIDTH = 1000
CUSTOMERS, GOOD, SOME, FAILED = "customers", "good", "some", "failed"


@dataclass(frozen=True, slots=True)
class Bar:
    """Steps of one kind that follow each other, in units of a strip's width."""

    x: float
    width: float
    kind: str
    since: datetime
    until: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """One page of one release. `state` is the icon and the word of how it answered."""

    release: str
    path: str
    bars: Sequence[Bar]
    state: tuple[str, str]
    facts: Sequence[tuple[str, str]]
    watched: Watched


@dataclass(frozen=True, slots=True)
class Panel:
    """`strips` are of the last releases, `earlier` of those before. `rows` is all of it as a table."""

    watch: Watch
    state: tuple[str, str]
    alone: str
    customers: Sequence[Bar]
    strips: Sequence[Strip]
    earlier: Sequence[Strip]
    rows: Sequence[tuple[datetime, int, Sequence[str]]]

    @property
    def good(self) -> int:
        return self.watch.looks - self.watch.failed


def panel(watch: Watch, board: Board) -> Panel:
    strips = [_strip(one, board) for one in watch.watched]
    shown = list(dict.fromkeys(strip.release for strip in strips))[:MOST_LINES]
    came = [(at, CUSTOMERS, count, 0) for at, count in sorted(watch.customers.items())]
    return Panel(
        watch=watch,
        state=_state(watch.looks, watch.failed),
        alone=_alone(watch),
        customers=_bars(came, board),
        strips=[strip for strip in strips if strip.release in shown],
        earlier=[strip for strip in strips if strip.release not in shown],
        rows=_rows(watch),
    )


def _strip(watched: Watched, board: Board) -> Strip:
    spans = [
        (span.at, GOOD if not span.failed else FAILED if not span.good else SOME, span.looks, span.failed)
        for span in watched.spans
    ]
    names = ((HTTP, "HTTP", "latency"), ("TTFB", "TTFB", "ttfb"), ("LCP", "LCP", "lcp"), ("CLS", "CLS", "cls"))
    facts = [(said, amount(metric, watched.values[key])) for key, said, metric in names if key in watched.values]
    return Strip(
        watched.release, watched.path, _bars(spans, board), _state(watched.looks, watched.failed), facts, watched
    )


def _state(looks: int, failed: int) -> tuple[str, str]:
    if not looks:
        return "unknown", "not looked at"
    if not failed:
        return "succeeded", f"answered {looks:,} of {looks:,}"
    return "failed", f"{failed:,} of {looks:,} failed"


def _alone(watch: Watch) -> str:
    """What nobody else can say: how it was while no customer came."""
    lasted, looks, failed = watch.unattended
    if not looks:
        return ""
    came = f"In {for_long(lasted.total_seconds())} of this time no customer was counted"
    if not failed:
        return f"{came}; it answered all {looks:,} looks then."
    return f"{came}; {failed:,} of {looks:,} looks failed then."


def _bars(steps: Sequence[tuple[datetime, str, int, int]], board: Board) -> list[Bar]:
    """Of (start, kind, count, failed). Neighbours of one kind are one bar."""
    length = board.until - board.since
    groups: list[tuple[datetime, datetime, str, int, int]] = []
    for at, kind, count, failed in steps:
        if groups and groups[-1][1] == at and groups[-1][2] == kind:
            since, _, _, before, failed_before = groups.pop()
            groups.append((since, at + board.step, kind, before + count, failed_before + failed))
        else:
            groups.append((at, at + board.step, kind, count, failed))
    return [
        Bar(
            round(WIDTH * ((since - board.since) / length), 1),
            round(WIDTH * ((until - since) / length), 1),
            kind,
            since,
            until,
            f"{count:,} requests" if kind == CUSTOMERS else _state(count, failed)[1],
        )
        for since, until, kind, count, failed in groups
    ]


def _rows(watch: Watch) -> list[tuple[datetime, int, list[str]]]:
    """(start, requests of customers, what each page answered), newest first."""
    found: dict[datetime, list[str]] = {at: [""] * len(watch.watched) for at in watch.customers}
    for number, one in enumerate(watch.watched):
        for span in one.spans:
            found.setdefault(span.at, [""] * len(watch.watched))[number] = f"{span.good} of {span.looks}"
    return [(at, watch.customers.get(at, 0), cells) for at, cells in sorted(found.items(), reverse=True)]
