"""The soak: ask for every page in each interval, keep what came, and judge it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.executors.base import Control, Log, Measured, Progress
from pipelines.executors.verify.customers import Customers
from pipelines.executors.verify.probing import probe
from pipelines.executors.verify.rule import Bounds, Rule, Verdict, numbers
from pipelines.executors.verify.samples import Record, Sample
from pipelines.executors.verify.settings import Settings
from pipelines.performance.sentences import few

# A soak ends early only for a release that is bad beyond doubt, because many looks find some doubt by chance.
BEYOND_DOUBT = 0.999
MOST_LOOKS = 100
LOOK_AROUND = 0.1


def measure(
    *,
    base_url: str,
    release: str | None,
    settings: Mapping[str, Any],
    control: Control,
    folder: Path,
    rule: Rule | None = None,
    measured: Measured | None = None,
) -> Iterator[Log | Progress | Verdict]:
    """Probe `base_url` for a soak and yield, last, the Verdict; without one when `control` says to stop.

    `release` asks the router for exactly this release; None takes what it gives to everybody. `settings` is
    the `with` of a `verify` stage: see `Settings`. Samples are kept in `folder`: called again with the same
    one, a soak that was cut off goes on where it was. `measured` reads what customers measured, where the settings
    have budgets for it. Raises PlanError for settings that cannot be used.
    """
    wanted, judge = Settings.of(settings), rule or Bounds()
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(folder / "samples.jsonl")
    clock = Clock(record.soaked)
    customers = _customers(wanted, release or "", measured, folder)
    looked = -math.inf
    while not _is_over(soaked := clock.soaked(), wanted, customers):
        for path, asked in _requests(release or "", wanted):
            if control.stopping():
                return
            yield from _ask(base_url, path, asked, wanted, record, clock)
        if customers and customers.look():
            yield _progress(record, wanted, customers)
            if customers.assessment.state == "fail":
                break
        if soaked < wanted.soak and clock.soaked() - looked >= wanted.soak / MOST_LOOKS:
            looked = clock.soaked()
            yield _progress(record, wanted, customers)
            early = judge.judge(record.samples, replace(wanted, confidence=BEYOND_DOUBT))
            if early.state == "fail":
                yield early
                return
        # The soak ends on time; what customers say is waited for on.
        until = soaked + wanted.interval
        clock.wait(min(until, wanted.soak) if soaked < wanted.soak else until, control)
    yield _both(judge.judge(record.samples, wanted), wanted, customers)


def _customers(wanted: Settings, release: str, measured: Measured | None, folder: Path) -> Customers | None:
    if not wanted.budgets or not release or measured is None:
        return None
    beside = "" if wanted.beside == release else wanted.beside
    return Customers(measured, release, beside, wanted.budgets, folder)


def _is_over(soaked: float, wanted: Settings, customers: Customers | None) -> bool:
    if soaked < wanted.soak:
        return False
    return customers is None or customers.decided or soaked >= wanted.within


def _both(probed: Verdict, wanted: Settings, customers: Customers | None) -> Verdict:
    """What probing says and what customers say: the worse of the two."""
    if not wanted.budgets:
        return probed
    if customers is None:
        reason = (
            "There are budgets, but no measurements of customers can be read here, or it is not known of which release."
        )
        return probed if probed.state == "fail" else Verdict("inconclusive", reason, probed.numbers)
    found = {**probed.numbers, "customers": customers.numbers()}
    state = customers.assessment.state
    if state == "fail" or (state == "pass" and probed.state == "pass"):
        return Verdict("fail" if state == "fail" else "pass", customers.sentence(), found)
    if probed.state == "fail" or state == "pass":
        return replace(probed, numbers=found)
    if customers.too_few and wanted.too_few == "probes":
        reason = f"Too few customers came to say ({few(customers.assessment.findings)}), so probes alone decide: "
        return replace(probed, reason=reason + probed.reason, numbers=found)
    return Verdict("inconclusive", customers.sentence(), found)


class Clock:
    """Counts the seconds soaked, on from what earlier workers had soaked; time without a worker is none."""

    def __init__(self, before: float) -> None:
        self._began = time.monotonic() - before

    def soaked(self) -> float:
        return time.monotonic() - self._began

    def wait(self, until: float, control: Control) -> None:
        """Until so much is soaked, or control says to stop."""
        while (left := until - self.soaked()) > 0 and not control.stopping():
            time.sleep(min(left, LOOK_AROUND))


def _requests(release: str, settings: Settings) -> list[tuple[str, str]]:
    """(path, release to ask for) of one interval: the baseline's turn follows the release's on each page."""
    releases = [release, settings.baseline] if settings.baseline else [release]
    return [(path, asked) for path in settings.paths for asked in releases]


def _ask(base_url: str, path: str, asked: str, settings: Settings, record: Record, clock: Clock) -> Iterator[Log]:
    sample = replace(probe(base_url, path, asked, settings), at=round(clock.soaked(), 4))
    record.add(sample)
    if sample.problem:
        yield Log(_line(sample))


def _line(sample: Sample) -> str:
    status = f" {sample.status}" if sample.status else ""
    return f"{sample.at:8.2f} s  {sample.path}{status}  {sample.ms:.0f} ms  {sample.problem}\n"


def _progress(record: Record, settings: Settings, customers: Customers | None) -> Progress:
    found = numbers(record.samples, settings)
    total = found["total"]
    text = f"{total['count']} answers, {total['errors']} not good, p95 {total['p95_ms'] or 0:g} ms"
    whole = settings.soak
    if customers:
        found["customers"] = customers.numbers()
        text, whole = f"{text}; {customers.progress()}", max(settings.soak, settings.within)
    return Progress(text, done=min(int(record.soaked), int(whole)), total=int(whole), data=found)
