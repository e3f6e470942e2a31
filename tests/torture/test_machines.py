"""Workers on several machines, over PostgreSQL and Redis: killed at random, and a machine that is gone for good."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import redis_server
from tests.bench import postgres

from . import count
from .fleet import Fleet
from .installation import eventually
from .test_kills import WORK, busy_pipeline, check_books, check_ledger, command, pipeline


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    if postgres.program("initdb") is None:
        pytest.skip(postgres.INSTALL)
    if redis_server.program() is None:
        pytest.skip(redis_server.INSTALL)
    folder = Path("/tmp") / f"burger-fleet-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        with postgres.server() as database, redis_server.server(folder) as redis:
            site = Fleet(tmp_path, database, redis)
            try:
                site.start()
                yield site
            finally:
                site.close()
    finally:
        folder.rmdir()


def test_two_machines_share_the_work_and_survive_kills(fleet: Fleet) -> None:
    kills, seed = count(12, 200), int(os.environ.get("BURGER_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)
    print(f"BURGER_SEED={seed}")
    text = busy_pipeline(fleet)
    fleet.commit({"work.py": WORK, "pipeline.yaml": text})
    fleet.backstage.accept_first(slug="demo", text=text)
    pushed: list[int] = []
    victims: Counter[str] = Counter()
    while victims.total() < kills:
        going = fleet.value("SELECT count(*) FROM pipelines_run WHERE state IN ('running', 'waiting')")
        if going + fleet.value("SELECT count(*) FROM pipelines_delivery WHERE open") < 3:
            commit = fleet.commit({})
            pushed.append(fleet.backstage.receive(key=f"{seed}-{len(pushed)}", commit=commit))
        (role,) = chance.choices(("child", "sentinel", "main", "web", "sweeper"), (10, 2, 2, 1, 3))
        fleet.kill(role, chance)
        victims[role] += 1
        if victims.total() == kills // 2:
            fleet.redis.kill()
        time.sleep(chance.uniform(0.05, 0.8))
    fleet.redis.start()
    last_kill = time.monotonic()
    by: set[str] = set()
    for delivery in pushed:
        left = 60 - (time.monotonic() - last_kill)
        run = eventually(
            lambda delivery=delivery: fleet.value("SELECT run_id FROM pipelines_delivery WHERE id = ?", delivery),
            left, fleet.logs,
        )  # fmt: skip
        state = fleet.finished(run, 60 - (time.monotonic() - last_kill))
        by |= fleet.workers_of(run)
        if state == "succeeded":
            check_ledger(fleet, run)
            continue
        # The one ending that kills may bring about: the same stage in the hands of three that were killed.
        bad = [row for row in fleet.story(run) if row[1] in ("failed", "error")]
        assert all(row[1] == "error" and row[3].startswith("quarantined") for row in bad), (bad, fleet.logs())
    # After few kills one machine may have done it all: what comes now, with nobody killed, reaches the other one too.
    for _ in range(10):
        if by == {"north", "south"}:
            break
        run = fleet.backstage.begin(text=text, commit=fleet.commit({}), slug="demo")
        assert fleet.finished(run, 60) == "succeeded"
        by |= fleet.workers_of(run)
    assert by == {"north", "south"}
    check_books(fleet)


def test_a_machine_that_is_gone_leaves_its_work_to_the_other_one(fleet: Fleet) -> None:
    """What may be repeated is done again there; what may not stops for a person, and is never done twice."""
    more = ", repeatable: true"
    safe = command(fleet, "safe", needs="source", seconds=6).replace("]}", f"]{more}}}")
    text = pipeline(fleet, [safe, command(fleet, "once", needs="source", seconds=6)])
    commit = fleet.commit({"work.py": WORK, "pipeline.yaml": text})
    north, south = fleet.machines
    south.turn_off()
    run = fleet.backstage.begin(text=text, commit=commit, slug="demo")
    eventually(lambda: sorted(fleet.ledger_of(run)) == ["once", "safe"], 60, fleet.logs)
    assert fleet.workers_of(run) == {"north"}
    north.turn_off()
    south.start()
    eventually(lambda: fleet.ledger_of(run).count("safe") == 2, 60, fleet.logs)

    def states() -> dict[str, str]:
        return {row[0]: row[1] for row in fleet.story(run)}

    eventually(lambda: states()["safe"] == "succeeded" and states()["once"] == "unknown", 60, fleet.logs)
    (reason,) = [row[3] for row in fleet.story(run) if row[0] == "once"]
    assert "look" in reason
    assert fleet.ledger_of(run).count("once") == 1
    assert fleet.workers_of(run) >= {"south"}
