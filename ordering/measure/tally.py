"""What was seen since the last report, added up. For all threads of a process."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

# Times are counted in buckets that grow by 2 %: the middle of one is within 1 % of what is in it.
GROWTH = 1.02
_LOG, _MIDDLE = math.log(GROWTH), 2 / (1 + GROWTH)
SHORTEST = 0.001  # ms
# What is held while nobody takes it. A route more is counted as OTHER, a beacon more is dropped and counted.
MOST_ROUTES = 100
MOST_BEACONS = 2000
OTHER = "other"
# Bytes of one report, of which the portal takes 256 KB. One route has some 30 KB at most, one beacon 12 KB.
LARGEST_REPORT = 250_000


class Route:
    __slots__ = ("buckets", "orders", "statuses", "visits")

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.buckets: Counter[int] = Counter()
        self.visits = self.orders = 0

    def as_dict(self) -> dict[str, Any]:
        times = [[float(f"{GROWTH**index * _MIDDLE:.6g}"), count] for index, count in sorted(self.buckets.items())]
        return {"statuses": dict(self.statuses), "ms": times, "visits": self.visits, "orders": self.orders}

    def add(self, other: Route) -> None:
        self.statuses.update(other.statuses)
        self.buckets.update(other.buckets)
        self.visits += other.visits
        self.orders += other.orders


class Tally:
    """`beacons` are bodies as browsers sent them, which only the collector reads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._routes: dict[str, Route] = {}
        self._beacons: list[str] = []
        self._dropped: Counter[str] = Counter()

    def request(self, route: str, status: int, seconds: float, *, visit: bool = False) -> None:
        bucket = math.ceil(math.log(max(seconds * 1000, SHORTEST)) / _LOG)
        with self._guard:
            found = self._of(route)
            found.statuses[f"{status // 100}xx"] += 1
            found.buckets[bucket] += 1
            found.visits += visit

    def order(self, route: str) -> None:
        with self._guard:
            self._of(route).orders += 1

    def beacon(self, body: bytes) -> None:
        with self._guard:
            if len(self._beacons) < MOST_BEACONS:
                self._beacons.append(body.decode("utf-8", "replace"))
            else:
                self._dropped["no_room"] += 1

    def drop(self, reason: str) -> None:
        """Count what is lost, by one of the collector's reasons."""
        with self._guard:
            self._dropped[reason] += 1

    def take(self) -> Taken:
        """All of it, to be sent; from here on it counts anew."""
        with self._guard:
            taken = Taken(self._routes, self._beacons, self._dropped)
            self._routes, self._beacons, self._dropped = {}, [], Counter()
        return taken

    def put_back(self, taken: Taken) -> None:
        """What could not be sent, for the next try."""
        with self._guard:
            for name, seen in taken.routes.items():
                self._of(name).add(seen)
            beacons = taken.beacons + self._beacons
            self._beacons = beacons[:MOST_BEACONS]
            self._dropped.update(taken.dropped)
            if lost := len(beacons) - len(self._beacons):
                self._dropped["no_room"] += lost

    def _of(self, name: str) -> Route:
        if name not in self._routes and len(self._routes) >= MOST_ROUTES:
            name = OTHER
        return self._routes.setdefault(name, Route())


@dataclass(frozen=True, slots=True)
class Report:
    """One body, and what it holds: the names of routes, and how many beacons."""

    body: bytes
    routes: tuple[str, ...]
    beacons: int


class Taken:
    """What reports are made of."""

    def __init__(self, routes: dict[str, Route], beacons: list[str], dropped: Counter[str]) -> None:
        self.routes, self.beacons, self.dropped = routes, beacons, dropped

    def __bool__(self) -> bool:
        return bool(self.routes or self.beacons or self.dropped)

    def next_report(self) -> Report:
        """As much as fits, counts first. It stays here until `forget`."""
        dropped = json.dumps(self.dropped).encode()
        routes: list[bytes] = []
        beacons: list[bytes] = []
        # What JSON makes of a text may be six times as long as the text.
        size = len(dropped) + 100
        of_routes = ((routes, _pair(name, seen.as_dict())) for name, seen in self.routes.items())
        of_beacons = ((beacons, json.dumps(one).encode()) for one in self.beacons)
        for kind, part in chain(of_routes, of_beacons):
            size += len(part) + 1
            if size > LARGEST_REPORT and (routes or beacons):
                break
            kind.append(part)
        body = b'{"routes": {%b}, "beacons": [%b], "dropped": %b}' % (b",".join(routes), b",".join(beacons), dropped)
        return Report(body, tuple(self.routes)[: len(routes)], len(beacons))

    def forget(self, report: Report) -> None:
        for name in report.routes:
            del self.routes[name]
        del self.beacons[: report.beacons]
        self.dropped.clear()


def _pair(name: str, value: Any) -> bytes:
    return f"{json.dumps(name)}: {json.dumps(value)}".encode()
