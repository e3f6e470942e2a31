"""Looks at every environment's pages now and then, release by release, and keeps what it saw.

One installation looks once, however many sweepers it has; a look takes as long as its pages take, on a thread of its
own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from pipelines.engines import environments
from pipelines.executors.verify.probing import probe
from pipelines.executors.verify.settings import Settings
from pipelines.models import Beat, Environment
from pipelines.performance import selectors
from pipelines.performance.cells import Cells
from pipelines.performance.probes import devtools
from pipelines.performance.probes.view import view
from pipelines.performance.reports import VITALS, Observation

log = logging.getLogger(__name__)

BEAT = "probe"
LOOK = 5.0  # seconds between looks whether it is time
DEVICE = "desktop"
MOST_FAILURES = 100  # pages whose last failure is remembered


@dataclass(frozen=True, slots=True)
class Page:
    """`release` is "" where an environment says of none."""

    environment: str
    release: str
    base: str
    path: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a page is counted as, and what was wrong with it."""

    observations: Sequence[Observation] = ()
    problem: str = ""


def look() -> int:
    """View every page once, keep what was seen, and say with which browser and of what failed; returns the number of
    views."""
    program, problem = devtools.find(settings.CHROMIUM), ""
    if not program:
        problem = "There is no Chromium on this machine, so pages are probed over plain HTTP only."
    cells, done, failed = Cells(), 0, list[dict[str, str]]()

    def keep(found: Seen, page: Page) -> None:
        cells.add(found.observations, time.time())
        if found.problem:
            failed.append(_failure(page, found.problem))

    with ExitStack() as stack:
        browser: devtools.Browser | None = None
        for page in pages():
            keep(_plain(page), page)
            done += 1
            try:
                if program and browser is None:
                    browser = stack.enter_context(devtools.browser(program))
                if browser is not None:
                    keep(_viewed(browser, page), page)
            except devtools.BrowserError as error:
                log.warning("Pages are probed over plain HTTP only for now: %s", error)
                program, browser, problem = "", None, str(error)
    if cells:
        cells.write()
    failures = _last([*selectors.probing().get("failures", ()), *failed])
    data = {"browser": program, "problem": problem, "views": done, "failures": failures}
    Beat.objects.filter(name=BEAT).update(data=data)
    return done


def _failure(page: Page, problem: str) -> dict[str, str]:
    at = timezone.now().isoformat(timespec="seconds")
    return {"environment": page.environment, "release": page.release, "path": page.path, "at": at, "problem": problem}


def _last(failures: list[dict[str, str]]) -> list[dict[str, str]]:
    """The last one of each page, oldest first."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in failures:
        key = (one["environment"], one["release"], one["path"])
        found.pop(key, None)
        found[key] = one
    return list(found.values())[-MOST_FAILURES:]


def pages() -> Iterator[Page]:
    """The pages of each release that gets traffic or stands by, of each environment with an address."""
    known = Environment.objects.order_by("name").values_list("name", flat=True).distinct()
    names = dict.fromkeys([*settings.ENVIRONMENT_PORTS, *known])
    statuses = environments.statuses(names)
    for name in names:
        base, status = environments.address(name), statuses[name]
        releases = [release for release, share in status["weights"].items() if share]
        if base and status["release"]:
            for release in releases or [status["release"]]:
                yield from (Page(name, release, base, path) for path in settings.PROBE_PATHS)


def _plain(page: Page) -> Seen:
    """One request without a browser. What this machine is to blame for says nothing of the release."""
    sample = probe(page.base, page.path, page.release, Settings())
    if not sample.measured:
        log.info("Probing %s of %s: %s", page.path, page.environment, sample.problem)
        return Seen()
    place = (page.environment, page.release, page.path[:64], "")
    if sample.problem:
        return Seen([Observation(*place, "probe.failed")], sample.problem)
    return Seen([Observation(*place, "probe.http", sample.ms)])


def _viewed(browser: devtools.Browser, page: Page) -> Seen:
    seen = view(browser, page.base + page.path, page.release)
    if seen.served != page.release:
        return Seen()
    place = (page.environment, page.release, page.path[:64], DEVICE)
    if seen.problem:
        return Seen([Observation(*place, "probe.failed")], f"{seen.problem} in the browser")
    known = {name: value for name, value in seen.values.items() if 0 <= value <= VITALS.get(name, -1)}
    return Seen([Observation(*place, f"probe.{name}", value) for name, value in known.items()])


class Turns:
    """Looks every `PROBE_EVERY` seconds; call `take` as often as you like."""

    def __init__(self) -> None:
        self._next = 0.0
        self._thread: threading.Thread | None = None

    def take(self, now: datetime) -> threading.Thread | None:
        """Begin if it is time; returns the thread."""
        if not settings.PROBE_EVERY or time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + LOOK
        if self._thread is not None and self._thread.is_alive():
            return None
        beat, fresh = Beat.objects.get_or_create(name=BEAT, defaults={"at": now})
        due = now - beat.at >= timedelta(seconds=settings.PROBE_EVERY)
        # Of several machines, the one that moves the beat looks.
        if fresh or not due or not Beat.objects.filter(name=BEAT, at=beat.at).update(at=now):
            return None
        self._thread = threading.Thread(target=_in_the_background, name="probes", daemon=True)
        self._thread.start()
        return self._thread


def _in_the_background() -> None:
    began = timezone.now()
    try:
        log.debug("Probed %s pages in %s", look(), timezone.now() - began)
    except Exception:
        log.exception("Probing failed; it is tried again in %s s", settings.PROBE_EVERY)
    finally:
        connection.close()
