"""Beacons by the thousand, nonsense among them, while the database is locked and the web process dies: what was
answered is counted or said to be dropped, and what is stored stays small."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.performance import tokens
from pipelines.performance.collect import FLUSH, LOOK
from tests.bench.beacons import CONNECTIONS, Sent, bodies, send

from . import count
from .installation import Installation, eventually
from .test_outages import locked

SENT = count(4_000, 60_000)
RATE = 800  # a second
PATH = "/measure/beacon"
# Of these, each is dropped for another reason.
NONSENSE = (b"", b"{", b"[" * 2000, b'{"t":"a.b","d":"phone","n":"navigate","m":{}}', b"\xff" * 100, b"x" * 3000)


def mixed(site: Installation, release: str, chance: random.Random) -> tuple[list[bytes], int]:
    """(beacons of this release with nonsense among them, how many are good)."""
    token = tokens.mint(tokens.key(site.home), "production", release)
    good = bodies(lambda route: tokens.narrow(token, route=route, until=time.time() + 3600), SENT)
    mix = [one if chance.random() < 0.7 else chance.choice(NONSENSE) for one in good]
    return mix, sum(one in good_ones for good_ones in [set(good)] for one in mix)


def flood(site: Installation, what: list[bytes]) -> tuple[threading.Thread, list[Sent]]:
    """Sends on a thread; what came of it is in the list once that has ended."""
    found: list[Sent] = []
    thread = threading.Thread(
        target=lambda: found.append(asyncio.run(send(site.port, PATH, what, len(what) / RATE))), daemon=True
    )
    thread.start()
    return thread, found


def counted(site: Installation, release: str) -> int:
    return site.value(
        'SELECT coalesce(sum("count"), 0) FROM performance_measurement WHERE "release" = ? AND metric = ?',
        release, "view.navigate",
    )  # fmt: skip


def dropped(site: Installation) -> dict[str, int]:
    return dict(site.rows(
        'SELECT substr(metric, 9), sum("count") FROM performance_measurement WHERE metric LIKE \'dropped.%\' GROUP BY 1'
    ))  # fmt: skip


def test_what_was_answered_is_counted_or_said_to_be_dropped(site: Installation) -> None:
    chance = random.Random(7)
    what, good = mixed(site, "books-1", chance)
    before = sum(dropped(site).values())
    thread, found = flood(site, what)
    time.sleep(1)
    with locked(site):
        time.sleep(4)
    thread.join(300)
    answers = found[0].answers
    too_large = sum(len(one) > 2048 for one in what)
    # The connection of one that is too large is closed, so its answer may be lost to the client.
    assert answers.get(204, 0) == len(what) - too_large, answers
    eventually(lambda: counted(site, "books-1") == good, 30, lambda: f"{counted(site, 'books-1')} of {good}")
    eventually(
        lambda: sum(dropped(site).values()) - before == len(what) - good, 30, lambda: f"{dropped(site)} of {len(what)}"
    )
    assert "no_room" not in dropped(site)
    eventually(site.well, 30, site.logs)


def test_a_web_process_that_is_killed_takes_seconds_with_it_and_no_more(site: Installation) -> None:
    chance = random.Random(8)
    what = [one for one in mixed(site, "books-2", chance)[0] if one not in NONSENSE]
    thread, found = flood(site, what)
    kills = 0
    while thread.is_alive() and kills < count(2, 10):
        time.sleep(1.5)
        site.kill("web", chance)
        eventually(site.well, 60, site.logs)
        kills += 1
    thread.join(600)
    answered = found[0].answers.get(204, 0)
    # What is held in memory: what came since the last write, and each connection's last.
    most = kills * (RATE * (FLUSH + LOOK + 2) + CONNECTIONS)
    eventually(lambda: counted(site, "books-2") >= answered - most, 30, lambda: f"{counted(site, 'books-2')}")
    # A beacon whose answer was cut off may have been counted; none is counted twice.
    assert counted(site, "books-2") <= answered + kills * CONNECTIONS


def test_one_that_is_told_to_end_writes_what_it_has(site: Installation) -> None:
    what = [one for one in mixed(site, "books-3", random.Random(9))[0] if one not in NONSENSE][:500]
    thread, found = flood(site, what)
    thread.join(60)
    (web,) = eventually(lambda: site.processes()["web"], 30, site.logs)
    web.terminate()
    web.wait(30)
    assert found[0].answers == {204: len(what)}
    assert counted(site, "books-3") == len(what)
    eventually(site.well, 60, site.logs)


def test_what_is_stored_does_not_grow_with_what_comes(site: Installation) -> None:
    """The sweeper adds up what a minute brought, once it is over."""
    what = [one for one in mixed(site, "books-4", random.Random(10))[0] if one not in NONSENSE]
    thread, _ = flood(site, what)
    thread.join(300)
    eventually(lambda: counted(site, "books-4") == len(what), 30)

    def rows() -> list[tuple[Any, ...]]:
        return site.rows(
            'SELECT level, metric, route, device, start FROM performance_measurement WHERE "release" = ?', "books-4"
        )

    assert {row[0] for row in rows()} == {0}
    with closing(sqlite3.connect(site.home / "burger.sqlite3", timeout=30)) as database, database:
        # As if all of it had come within one minute, an hour ago.
        start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
        database.execute("UPDATE performance_measurement SET start = ?", [f"{start:%F %T}"])
    eventually(lambda: {row[0] for row in rows()} == {1}, 60, site.logs)
    series = {row[1:4] for row in rows()}
    assert len(rows()) == len(series) == 4 * 3 * 6, "four routes, three devices, five vitals and the views"
    assert counted(site, "books-4") == len(what)
