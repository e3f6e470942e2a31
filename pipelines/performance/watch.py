"""Whether a site answered while nobody came, and what was reported and not counted: what pages and API show, as plain
data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from pipelines.performance import selectors
from pipelines.performance.dashboard import Board
from pipelines.performance.selectors import Probed
from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import QUANTILE

HTTP, FAILED = "http", "failed"
# Twice as long without a look, and a bit for the look itself: then somebody should look why.
LATE_AFTER, LATE_BY = 2, timedelta(minutes=1)
REASONS: Mapping[str, str] = {
    "malformed": "no report, or one with a value that cannot be",
    "too_large": "more bytes than a report may have",
    "forged": "a token that is not of this installation",
    "expired": "a page that was open for more than a day",
    "not_for_pages": "a server's token in what a page reports",
    "not_for_servers": "a page's token in what a server reports",
    "no_release": "a report that says of no release",
    "no_room": "more than could be read in time, or held while the portal was away",
    "refused": "whole reports of a server, which the portal or what stands before it refused",
    "too_many_series": "more combinations of release, route and device than are held at once",
}


@dataclass(frozen=True, slots=True)
class Span:
    """How often one page was looked at in one step."""

    at: datetime
    good: int
    failed: int

    @property
    def looks(self) -> int:
        return self.good + self.failed


@dataclass(frozen=True, slots=True)
class Failure:
    at: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Watched:
    """One page of one release. `values` are 75th percentiles: "http" of requests without a browser, in ms, and the
    vitals of views. `failure` is the last in this time, if it is remembered what was wrong."""

    release: str
    path: str
    spans: Sequence[Span]
    values: Mapping[str, float]
    failure: Failure | None

    @property
    def good(self) -> int:
        return sum(span.good for span in self.spans)

    @property
    def failed(self) -> int:
        return sum(span.failed for span in self.spans)

    @property
    def looks(self) -> int:
        return self.good + self.failed


@dataclass(frozen=True, slots=True)
class Watch:
    """`every` is in seconds, 0 for never; `at` the last look anywhere, `problem` why it was without a browser.
    `customers` are requests by step, of steps that had any. Of `watched`, the newest release comes first."""

    step: timedelta
    every: int
    at: datetime | None
    is_late: bool
    problem: str
    watched: Sequence[Watched]
    customers: Mapping[datetime, int]

    @property
    def looks(self) -> int:
        return sum(one.looks for one in self.watched)

    @property
    def failed(self) -> int:
        return sum(one.failed for one in self.watched)

    @property
    def unattended(self) -> tuple[timedelta, int, int]:
        """(how long it was looked at while no customer was counted, looks in that time, how many of them failed)."""
        alone = [span for one in self.watched for span in one.spans if span.at not in self.customers]
        lasted = self.step * len({span.at for span in alone})
        return lasted, sum(span.looks for span in alone), sum(span.failed for span in alone)


@dataclass(frozen=True, slots=True)
class Drop:
    """What was not counted for one reason: `here` came through servers of the environment, `anywhere` from somebody of
    whom it is not known where they were."""

    reason: str
    meaning: str
    here: int
    anywhere: int


@dataclass(frozen=True, slots=True)
class Drops:
    """`views` are those that were counted meanwhile."""

    views: int
    drops: Sequence[Drop]

    @property
    def here(self) -> int:
        return sum(drop.here for drop in self.drops)

    @property
    def anywhere(self) -> int:
        return sum(drop.anywhere for drop in self.drops)


def watch(environment: str, board: Board, now: datetime) -> Watch:
    """In the time and the steps of `board`."""
    last = selectors.probing()
    at: datetime | None = last.get("at")
    late = timedelta(seconds=LATE_AFTER * settings.PROBE_EVERY) + LATE_BY
    counted = selectors.counts_over_time(environment, board.since, board.until, board.step).get("", [])
    return Watch(
        step=board.step,
        every=int(settings.PROBE_EVERY),
        at=at,
        is_late=bool(settings.PROBE_EVERY and at and now - at > late),
        problem=last.get("problem", ""),
        watched=_watched(environment, board, last.get("failures", ())),
        customers={start: counts.requests for start, counts in counted if counts.requests},
    )


def drops(environment: str, since: datetime, until: datetime) -> Drops:
    here = selectors.dropped(since, until, environment)
    anywhere = selectors.dropped(since, until)
    found = [
        Drop(reason, REASONS.get(reason, ""), here.get(reason, 0), anywhere.get(reason, 0))
        for reason in here.keys() | anywhere.keys()
    ]
    found.sort(key=lambda drop: (-drop.here, -drop.anywhere, drop.reason))
    return Drops(selectors.views(environment, since, until), found)


class _Page:
    """What is added up of one page of one release."""

    def __init__(self) -> None:
        self.failed: dict[datetime, int] = defaultdict(int)
        # One view has several vitals: by step, how often each was seen.
        self.good: dict[datetime, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.values: dict[str, Sketch] = defaultdict(Sketch)

    def add(self, start: datetime, row: Probed) -> None:
        if row.what == FAILED:
            self.failed[start] += row.count
            return
        self.good[start][row.what] += row.count
        self.values[row.what].merge(row.sketch)

    def spans(self) -> list[Span]:
        starts = sorted(self.failed.keys() | self.good.keys())
        return [Span(start, _good(self.good.get(start, {})), self.failed.get(start, 0)) for start in starts]


def _good(seen: Mapping[str, int]) -> int:
    """Requests without a browser, and views: as many as the vital that was seen most often."""
    return seen.get(HTTP, 0) + max((count for what, count in seen.items() if what != HTTP), default=0)


def _watched(environment: str, board: Board, failures: Sequence[Mapping[str, str]]) -> list[Watched]:
    pages: dict[tuple[str, str], _Page] = defaultdict(_Page)
    for row in selectors.probed(environment, board.since, board.until):
        pages[row.release, row.path].add(selectors.floor(row.start, board.step), row)
    problems = {
        (one["release"], one["path"][:64]): Failure(at, one["problem"])
        for one in failures
        if one["environment"] == environment and board.since <= (at := datetime.fromisoformat(one["at"])) < board.until
    }
    found = [
        Watched(
            release,
            path,
            page.spans(),
            {what: value for what, sketch in page.values.items() if (value := sketch.quantile(QUANTILE)) is not None},
            problems.get((release, path)),
        )
        for (release, path), page in pages.items()
    ]
    ends = {one.release: max(other.spans[-1].at for other in found if other.release == one.release) for one in found}
    begins = {one.release: min(other.spans[0].at for other in found if other.release == one.release) for one in found}
    return sorted(found, key=lambda one: (-ends[one.release].timestamp(), -begins[one.release].timestamp(), one.path))
