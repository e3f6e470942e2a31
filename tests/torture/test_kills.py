"""kill -9 wherever it may hit: nothing is lost, nothing is done twice, and it goes on by itself."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from functools import partial

import psutil

from . import count
from .installation import RUN_ENDED, Installation, eventually

NOOP = "name: demo\nstages:\n  - {name: only, kind: noop, owner: dev}\n"

# Writes down the key of its attempt, which names the folder that it works in; says no before the attempt `times`.
WORK = """\
import os, sys, time
ledger, seconds, times = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
key = os.path.basename(os.path.dirname(os.getcwd()))
with open(ledger, "a") as file:
    file.write(f"{key} {os.getpid()}\\n")
for part in range(10):
    time.sleep(seconds / 10)
    print("part", part, flush=True)
sys.exit(0 if int(key.split("-")[1]) >= times else 1)
"""


def pipeline(site: Installation, stages: list[str]) -> str:
    lines = "\n".join(f"  - {stage}" for stage in ["{name: source, kind: source, owner: dev}", *stages])
    return f"name: demo\nstages:\n{lines}\n"


def command(site: Installation, name: str, *, needs: str, seconds: float = 0.2, times: int = 1, more: str = "") -> str:
    words = f"[python3, work.py, {site.ledger}, '{seconds}', '{times}']"
    return f"{{name: {name}, kind: command, owner: dev, needs: [{needs}], with: {{command: {words}}}{more}}}"


def busy_pipeline(site: Installation) -> str:
    """A chain, a fan-out, a stage that needs a second attempt, and a join."""
    fan = [command(site, f"fan-{n}", needs="chain-1", seconds=0.4) for n in range(3)]
    return pipeline(
        site,
        [
            command(site, "chain-0", needs="source"),
            command(site, "chain-1", needs="chain-0", seconds=0.5),
            *fan,
            command(site, "flaky", needs="source", times=2, more=", retry: {limit: 1, on: [failed]}"),
            "{name: join, kind: noop, owner: dev, needs: [fan-0, fan-1, fan-2, flaky]}",
        ],
    )


def wanted(stage: str) -> int:
    """How often a stage's command begins."""
    return {"source": 0, "join": 0, "flaky": 2}.get(stage, 1)


def check_ledger(site: Installation, run: int, spared: Collection[str] = ()) -> None:
    """Each stage was done as often as it had to be, but for those that a person had to do again."""
    told = Counter(site.ledger_of(run))
    for name, state, _, reason, _ in site.story(run):
        assert state == "succeeded", (name, state, reason)
        if name in spared:
            continue
        assert told[name] == wanted(name), (run, name, told, site.logs())
        log = site.log_of(run, name)
        # What a worker had taken and not written down when it was killed, the next one takes up.
        missing = [part for part in range(10) if log.count(f"part {part}\n") < wanted(name)]
        assert missing == [], (run, name, log)


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def check_books(site: Installation) -> None:
    """What must be true of every database, whatever happened."""
    open_ones = site.rows(
        "SELECT a.key, a.state, r.state FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
        "JOIN pipelines_run r ON r.id = s.run_id WHERE a.open"
    )
    assert [row for row in open_ones if row[2] in RUN_ENDED] == []
    for run, last, most, number in site.rows(
        "SELECT r.id, r.last_seq, max(e.seq), count(e.id) FROM pipelines_run r "
        "JOIN pipelines_event e ON e.run_id = r.id GROUP BY r.id"
    ):
        assert last == most == number, f"the events of run {run} have a gap"


def test_no_stage_is_lost_and_none_is_done_twice(site: Installation) -> None:
    kills, seed = count(20, 500), int(os.environ.get("BURGER_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)
    print(f"BURGER_SEED={seed}")
    site.commit({"work.py": WORK, "pipeline.yaml": busy_pipeline(site)})
    site.backstage.accept_first(slug="demo", text=busy_pipeline(site))
    pushed: list[int] = []
    victims: Counter[str] = Counter()
    while victims.total() < kills:
        going = site.value("SELECT count(*) FROM pipelines_run WHERE state IN ('running', 'waiting')")
        waiting = site.value("SELECT count(*) FROM pipelines_delivery WHERE open")
        if going + waiting < 3:
            commit = site.commit({})
            pushed.append(site.backstage.receive(key=f"{seed}-{len(pushed)}", commit=commit))
        # There are more children than main processes, and they can be hit at more moments.
        (role,) = chance.choices(("child", "sentinel", "main", "web", "sweeper"), (10, 2, 2, 2, 3))
        site.kill(role, chance)
        victims[role] += 1
        time.sleep(chance.uniform(0.05, 0.8))
    last_kill = time.monotonic()
    print(f"killed {dict(victims)} while {len(pushed)} runs went on")
    for delivery in pushed:
        left = 60 - (time.monotonic() - last_kill)
        run = eventually(
            partial(site.value, "SELECT run_id FROM pipelines_delivery WHERE id = ?", delivery),
            left,
            lambda: (site.rows("SELECT * FROM pipelines_delivery WHERE open"), site.logs()),
        )
        state, bad = site.finished(run, 60 - (time.monotonic() - last_kill)), []
        if state != "succeeded":
            # The one ending that kills may bring about: the same stage in the hands of three that were killed.
            bad = [row for row in site.story(run) if row[1] in ("failed", "error")]
            assert all(row[1] == "error" and row[3].startswith("quarantined") for row in bad), (bad, site.logs())
            site.backstage.retry_failed(run=run, user="dev-0")
            assert site.finished(run) == "succeeded", site.story(run)
        check_ledger(site, run, [row[0] for row in bad])
    print(f"everything had ended {time.monotonic() - last_kill:.1f} s after the last kill")
    check_books(site)


def test_idle_processes_may_die(site: Installation) -> None:
    roles = ("child", "child", "sentinel", "child", "sweeper", "child", "main", "child", "web", "child")
    chance = random.Random(7)
    slowest = 0.0
    for turn in range(count(10, 60)):
        role = roles[turn % len(roles)]
        eventually(lambda: len(site.processes()["child"]) == 5, 30, site.logs)
        site.kill(role, chance)
        began = time.monotonic()
        run = site.backstage.begin(text=NOOP)
        assert site.finished(run, 15) == "succeeded", role
        slowest = max(slowest, time.monotonic() - began)
    print(f"slowest run after a kill: {slowest:.1f} s")


def test_the_workers_stop_when_they_are_told_to(site: Installation) -> None:
    """What replaced the cluster's own locks must not keep it from ending by itself."""
    (main,) = eventually(lambda: site.processes()["main"] if len(site.processes()["child"]) == 5 else [], 30)
    ours = [main, *site.processes()["sentinel"], *site.processes()["child"]]
    main.terminate()
    _, left = psutil.wait_procs(ours, timeout=12)
    assert left == []
    eventually(lambda: len(site.processes()["child"]) == 5, 30, site.logs)


def test_a_stage_that_takes_its_workers_with_it_is_quarantined(site: Installation) -> None:
    commit = site.commit({"work.py": WORK})
    text = pipeline(site, [command(site, "deadly", needs="source", seconds=60)])
    run = site.backstage.begin(text=text, commit=commit)
    other = 0
    for turn in range(3):
        holder = eventually(lambda: site.holder(run, "deadly"), 30, site.logs)
        if turn == 1:
            other = site.backstage.begin(text=NOOP)
        os.kill(holder, signal.SIGKILL)
        eventually(lambda: site.holder(run, "deadly") != holder, 30, site.logs)  # noqa: B023 asked within the round
    assert site.finished(run) == "error"
    assert site.finished(other) == "succeeded"
    reason = site.value("SELECT reason FROM pipelines_stage WHERE run_id = ? AND name = 'deadly'", run)
    assert reason.startswith("quarantined: 3 workers"), reason
    eventually(lambda: not alive(site.began(run)[0][1]), 30, lambda: "what nobody follows any more goes on")
    check_books(site)

    # A person has had a look and tries again.
    stage = site.value("SELECT id FROM pipelines_stage WHERE run_id = ? AND name = 'deadly'", run)
    site.backstage.retry(stage=stage, user="dev-0")
    eventually(lambda: len(site.ledger_of(run)) == 2, 30, site.logs)
    site.backstage.cancel(run=run, user="dev-0")
    assert site.finished(run) == "canceled"


def test_time_runs_out_while_the_portal_is_away(site: Installation) -> None:
    commit = site.commit({"work.py": WORK})
    long = command(site, "long", needs="source", seconds=120, more=", timeout: 4s")
    run = site.backstage.begin(text=pipeline(site, [long]), commit=commit)
    eventually(lambda: site.ledger_of(run), 30, site.logs)
    site.away()
    try:
        (_, pid), *_ = site.began(run)
        eventually(lambda: not alive(pid), 30, lambda: "the command went on after its time")
        assert site.state(run) == "running", "nobody was there to write it down"
    finally:
        site.back()
    assert site.finished(run) == "failed"
    reason = site.value("SELECT reason FROM pipelines_stage WHERE run_id = ? AND name = 'long'", run)
    assert reason == "took longer than 4 s"
    assert site.ledger_of(run) == ["long"]
    check_books(site)


def test_a_worker_that_comes_back_late_is_refused(site: Installation) -> None:
    commit = site.commit({"work.py": WORK})
    run = site.backstage.begin(text=pipeline(site, [command(site, "slow", needs="source", seconds=7)]), commit=commit)
    holder = eventually(lambda: site.holder(run, "slow"), 30, site.logs)
    eventually(lambda: site.ledger_of(run))
    os.kill(holder, signal.SIGSTOP)
    try:
        eventually(lambda: site.holder(run, "slow") not in (None, holder), 30, site.logs)
        assert site.finished(run) == "succeeded"
    finally:
        with suppress(ProcessLookupError):
            os.kill(holder, signal.SIGCONT)
    log = site.home / "logs" / "workers.log"
    eventually(lambda: "Nothing was recorded" in log.read_text() or "was lost; another" in log.read_text(), 30)
    assert site.ledger_of(run) == ["slow"]
    ends = site.rows(
        "SELECT e.data FROM pipelines_event e JOIN pipelines_stage s ON s.id = e.stage_id "
        "WHERE e.run_id = ? AND s.name = 'slow' AND e.kind = 'stage' AND e.data LIKE '%\"succeeded\"%'",
        run,
    )
    assert len(ends) == 1
    check_books(site)


def test_a_command_whose_keeper_was_killed_is_asked_about_and_not_done_again(site: Installation) -> None:
    commit = site.commit({"work.py": WORK})
    run = site.backstage.begin(text=pipeline(site, [command(site, "kept", needs="source", seconds=4)]), commit=commit)
    eventually(lambda: site.ledger_of(run), 30, site.logs)
    child = site.began(run)[0][1]
    keeper = psutil.Process(child).parent()
    holder = site.holder(run, "kept")
    assert keeper
    assert holder
    os.kill(holder, signal.SIGKILL)
    keeper.kill()
    eventually(lambda: site.rows(
        "SELECT 1 FROM pipelines_stage WHERE run_id = ? AND name = 'kept' AND state = 'unknown' "
        "AND reason_code = 'person'", run), 30, lambda: (site.story(run), site.logs()))  # fmt: skip
    assert site.ledger_of(run) == ["kept"]
    assert not alive(child)
    stage = site.value("SELECT id FROM pipelines_stage WHERE run_id = ? AND name = 'kept'", run)
    site.backstage.retry(stage=stage, user="dev-0")
    assert site.finished(run) == "succeeded"
    assert site.ledger_of(run) == ["kept", "kept"]
    check_books(site)
