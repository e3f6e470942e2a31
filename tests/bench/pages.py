"""Whether the pages notice how much is stored: `python -m tests.bench.pages`.

Two processes, one with few stored runs (the floor) and one with many, show the same pages in turns. What is compared
is the 95th percentile of the times in a round, the median of the rounds, and the number of queries, which has to be
the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from .place import ROOT, home
from .result import Result, median, percentile, tell

FEW, MANY = 100, 100_000
STAGES, EVENTS = 3, 5  # of each run
ROUNDS, VIEWS = 10, 40
GOAL = 1.2
BATCH = 5_000  # runs


# --- a process with so many runs, which shows pages when it is told to ---


def fill(count: int) -> str:
    """Store runs; return the name of a person who may see them."""
    from django.utils import timezone

    from pipelines.models import Pipeline
    from teams.models import Membership, Team, User

    team = Team.objects.create(slug="dev", name="Dev")
    user = User.objects.create(username="ann")
    Membership.objects.create(user=user, team=team)
    pipeline = Pipeline.objects.create(slug="demo", name="Demo", owner="dev", repository="/nowhere")
    now = timezone.now()
    for first in range(1, count + 1, BATCH):
        _batch(pipeline, range(first, min(count + 1, first + BATCH)), now - timedelta(days=1), user)
    Pipeline.objects.filter(pk=pipeline.pk).update(last_number=count)
    return user.username


def _batch(pipeline: Any, numbers: range, at: Any, user: Any) -> None:
    from pipelines.models import Event, Run, Stage

    common = {"commit": "c0ffee" + "0" * 34, "ref": "refs/heads/main", "trigger": "push", "last_seq": EVENTS}
    runs = Run.objects.bulk_create(
        Run(
            pipeline=pipeline, number=number, subject=f"Number {number}", author="Ann <ann@example.com>",
            requested_by=user, state="succeeded", ended_at=at, **common,
        )
        for number in numbers
    )  # fmt: skip
    stages = Stage.objects.bulk_create(
        Stage(
            run=run, position=position, name=f"s{position}", kind="noop", owner="dev", state="succeeded",
            definition=_definition(position), attempts_made=1, since=at, started_at=at, ended_at=at,
        )
        for run in runs
        for position in range(STAGES)
    )  # fmt: skip
    Event.objects.bulk_create(
        Event(
            run=run, seq=seq + 1, kind="log", stage=stages[i * STAGES + seq % STAGES], attempt=1,
            data={"text": "It works.\n"}, at=at,
        )
        for i, run in enumerate(runs)
        for seq in range(EVENTS)
    )  # fmt: skip


def _definition(position: int) -> dict[str, Any]:
    from dataclasses import asdict

    from pipelines.definition.model import StageDef

    needs = (f"s{position - 1}",) if position else ()
    data = asdict(
        StageDef(
            name=f"s{position}", kind="noop", owner="dev", group=f"s{position}", needs=needs, depends=" && ".join(needs)
        )
    )
    data["retry"]["on"] = sorted(data["retry"]["on"])
    return data


def show(count: int) -> None:
    """Answer each line on standard input, a page's address, with its times in milliseconds and queries."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from teams.models import User

    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.get(username=fill(count)), "django.contrib.auth.backends.ModelBackend")
    print("ready", flush=True)
    for line in sys.stdin:
        page = line.strip()
        times = []
        for _ in range(VIEWS):
            began = time.perf_counter()
            response = client.get(page)
            times.append((time.perf_counter() - began) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{page} answered {response.status_code}; expected 200.")
        with CaptureQueriesContext(connection) as captured:
            client.get(page)
        print(json.dumps({"times": times, "queries": len(captured)}), flush=True)


# --- the two of them, compared ---


@contextlib.contextmanager
def shower(count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.pages", str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate()  # its input ends, and so does it


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended with {process.wait()}; its error is above.")
    return line


def ask(process: subprocess.Popen[str], page: str) -> dict[str, Any]:
    assert process.stdin
    process.stdin.write(page + "\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(said(process))
    return found


def compare(name: str, pages: dict[int, str], showers: dict[int, subprocess.Popen[str]]) -> Iterator[Result]:
    times: dict[int, list[float]] = {count: [] for count in showers}
    queries: dict[int, int] = {}
    for number in range(ROUNDS + 1):
        for count, process in showers.items():
            found = ask(process, pages[count])
            queries[count] = found["queries"]
            if number:  # the first round fills caches
                times[count].append(percentile(found["times"], 0.95))
    many, few = (median(times[count]) for count in (MANY, FEW))
    yield Result(f"{name}, {MANY:,} stored runs, p95", many, few, GOAL, "ms")
    yield Result(f"{name}, {MANY:,} stored runs, queries", queries[MANY], queries[FEW], 1.0, "queries")


def main() -> None:
    os.environ.pop("BURGER_DATABASE_URL", None)
    with shower(FEW) as few, shower(MANY) as many:
        showers = {FEW: few, MANY: many}
        for process in showers.values():
            said(process)
        lists = dict.fromkeys(showers, "/runs")
        middle = {count: f"/runs/demo/{count // 2}" for count in showers}
        tell([*compare("list of runs", lists, showers), *compare("page of a run", middle, showers)])


if __name__ == "__main__":
    if sys.argv[1:]:
        with home():
            show(int(sys.argv[1]))
    else:
        main()
