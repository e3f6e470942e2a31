"""How often a canary's verdict is wrong by the budgets of this project's own pipeline files, by simulated releases of a
site whose truth is known: `python -m tests.bench.verdict [releases]`. Pure computing, no database."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from pipelines.performance.budgets import Budget, parse
from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import LOOKS, Assessment, Reading, assess

from .place import ROOT
from .result import Result, tell

RELEASES = 200
FILES = ("pipeline.yaml", "pipeline-cluster.yaml")
# A canary at a quarter of the traffic; a visit is four page views, a page view five requests.
WEIGHT, VIEWS, REQUESTS = 0.25, 4, 5
POOL = 2000


@dataclass(frozen=True, slots=True)
class Site:
    """What is true of a release. Times are medians in ms, `cls` is the median of those views in which anything moves,
    `errors` a share of requests, `orders` one of visits."""

    lcp: float = 1100.0
    inp: float = 90.0
    ttfb: float = 350.0
    latency: float = 40.0
    cls: float = 0.03
    errors: float = 0.003
    orders: float = 0.06


@dataclass(slots=True)
class Counts:
    requests: int = 0
    errors: int = 0
    sessions: int = 0
    orders: int = 0


@cache
def budgets(file: str) -> tuple[Budget, ...]:
    """What the file's canary is judged by."""
    found = yaml.safe_load((ROOT / file).read_text())
    [given] = [one for stage in found["stages"] for one in _given(stage.get("with", {}).get("strategy", {}))]
    return parse(given)


def _given(within: Any) -> Iterator[Any]:
    for key, value in within.items() if isinstance(within, dict) else enumerate(within):
        if key == "budgets":
            yield value
        elif isinstance(value, dict | list):
            yield from _given(value)


class Traffic:
    """What comes in of one release, in the shapes that the field has: phones are slower than desks and spread wider;
    times of interaction come in steps of 8 ms; in every third view something moves."""

    def __init__(self, site: Site, rng: random.Random, pool: Sequence[float]) -> None:
        self.site, self.rng, self.pool = site, rng, pool
        self.counts = Counts()
        self.sketches = {name: Sketch() for name in ("LCP", "INP", "TTFB", "CLS", "duration")}

    def come(self, views: int) -> None:
        site, rng, counts = self.site, self.rng, self.counts
        for name, median, step in (("LCP", site.lcp, 4), ("INP", site.inp, 8), ("TTFB", site.ttfb, 1)):
            self._measured(name, median, step, views)
        self._measured("duration", site.latency, 0.1, views * REQUESTS)
        moving = views // 3
        self._measured("CLS", site.cls, 0.0001, moving)
        self.sketches["CLS"].add(0, views - moving)
        counts.requests += views * REQUESTS
        counts.errors += _binomial(rng, views * REQUESTS, site.errors)
        counts.sessions += views // VIEWS
        counts.orders += _binomial(rng, views // VIEWS, site.orders)

    def _measured(self, name: str, median: float, step: float, count: int) -> None:
        sketch = self.sketches[name]
        for factor, times in Counter(self.rng.choices(self.pool, k=count)).items():
            sketch.add(max(step, round(median * factor / step) * step), times)

    def reading(self) -> Reading:
        return Reading(self.sketches, self.counts)


def _binomial(rng: random.Random, count: int, share: float) -> int:
    """Jumps from hit to hit: hits are few."""
    hits, place = 0, 0
    while True:
        place += 1 + int(math.log(1 - rng.random()) / math.log1p(-share))
        if place > count:
            return hits
        hits += 1


def pool(rng: random.Random) -> list[float]:
    """Factors by which single times differ from the median."""
    spread = [
        rng.lognormvariate(0.2, 0.65) if rng.random() < 0.6 else rng.lognormvariate(-0.3, 0.5) for _ in range(POOL)
    ]
    return sorted(spread)


def judged(
    rules: Sequence[Budget], before: Site, after: Site, rng: random.Random, factors: Sequence[float]
) -> Assessment:
    """A canary from its first look to its verdict, or to its last look."""
    canary, stable = Traffic(after, rng, factors), Traffic(before, rng, factors)
    assessment, seen = Assessment("wait", ()), 0
    # The looks of what comes slowest, visits, are the last ones.
    for size in (*LOOKS, *(size * VIEWS for size in LOOKS[-2:])):
        canary.come(size - seen)
        stable.come(int((size - seen) * (1 - WEIGHT) / WEIGHT))
        seen = size
        assessment = assess(rules, canary.reading(), stable.reading(), assessment.findings)
        if assessment.state != "wait":
            break
    return assessment


def share(wanted: str, rules: Sequence[Budget], before: Site, after: Site, releases: int, seed: int) -> float:
    """Of so many releases judged by these budgets, the share that ended in the state `wanted`."""
    rng = random.Random(seed)
    factors = pool(random.Random(1))
    return sum(judged(rules, before, after, rng, factors).state == wanted for _ in range(releases)) / releases


def main() -> None:
    releases = int(sys.argv[1]) if len(sys.argv) > 1 else RELEASES
    site = Site()

    def result(file: str, name: str, value: float, most: float) -> Result:
        note = f"{releases} simulated releases each, by the budgets of {file}"
        return Result(f"verdict by {file}: {name}", round(value * 100, 2), None, most, "%", judged="ours", note=note)

    found = []
    for file in FILES:
        rules = budgets(file)
        found += [
            result(file, "no change, rolled back", share("fail", rules, site, site, releases, 1), 2),
            result(file, "no change, not passed", 1 - share("pass", rules, site, site, releases, 2), 10),
        ]
        found += [
            result(file, f"{name}, not caught", 1 - share("fail", rules, site, after, releases, 3), 5)
            for name, after in CHANGES.items()
        ]
    tell(found)


CHANGES = {
    "LCP +20 %": Site(lcp=1100 * 1.2),
    "INP +40 %": Site(inp=90 * 1.4),
    "TTFB +20 %": Site(ttfb=350 * 1.2),
    "errors 0.3 to 3 %": Site(errors=0.03),
    "orders halved": Site(orders=0.03),
}

if __name__ == "__main__":
    main()
