"""What was seen since the last report, added up. For all threads of a process."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from typing import Any

# Times are counted in buckets that grow by 2 %: the middle of one is within 1 % of what is in it.
GROWTH = 1.02
_LOG, _MIDDLE = math.log(GROWTH), 2 / (1 + GROWTH)
SHORTEST = 0.001  # ms
# What is held while nobody takes it. A route more is counted as OTHER, a beacon more is dropped.
MOST_ROUTES = 100
MOST_BEACONS = 2000
OTHER = "other"
LARGEST_REPORT = 200_000  # bytes of beacons in one report, beside its counts


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

    def take(self) -> Taken:
        """All of it, to be sent; from here on it counts anew."""
        with self._guard:
            taken = Taken(self._routes, self._beacons)
            self._routes, self._beacons = {}, []
        return taken

    def put_back(self, taken: Taken) -> None:
        """What could not be sent, for the next try."""
        with self._guard:
            for name, seen in taken.routes.items():
                self._of(name).add(seen)
            self._beacons = (taken.beacons + self._beacons)[:MOST_BEACONS]

    def _of(self, name: str) -> Route:
        if name not in self._routes and len(self._routes) >= MOST_ROUTES:
            name = OTHER
        return self._routes.setdefault(name, Route())


class Taken:
    """What a report is made of."""

    def __init__(self, routes: dict[str, Route], beacons: list[str]) -> None:
        self.routes, self.beacons = routes, beacons

    def __bool__(self) -> bool:
        return bool(self.routes or self.beacons)

    def next_report(self) -> bytes:
        """The body of the next report: all counts, and as many beacons as fit. See `sent`."""
        routes = {name: seen.as_dict() for name, seen in self.routes.items()}
        return json.dumps({"routes": routes, "beacons": self.beacons[: self._fitting()]}).encode()

    def sent(self) -> None:
        """Forget what `next_report` said."""
        del self.beacons[: self._fitting()]
        self.routes = {}

    def _fitting(self) -> int:
        size = 0
        for number, one in enumerate(self.beacons):
            size += 2 * len(one) + 8
            if size > LARGEST_REPORT:
                return number
        return len(self.beacons)
