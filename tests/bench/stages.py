"""What one stage that does nothing costs, from the trigger of its run to the run's end.

    python -m tests.bench.stages sqlite|postgresql

The floor is a loop in one process that claims and finishes rows of one simple table: two transactions a row, through
the ORM, in the same database.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from . import postgres
from .place import home, running, until
from .result import Result, median, tell

ROUNDS = 9
CHAIN = 50
WIDTH = 100
GOAL = 5.0


def chain(stages: int) -> str:
    lines = ["name: chain", "stages:", "  - {name: s0, kind: noop, owner: dev}"]
    lines += [f"  - {{name: s{i}, kind: noop, owner: dev, needs: [s{i - 1}]}}" for i in range(1, stages)]
    return "\n".join(lines) + "\n"


def fan_out(stages: int) -> str:
    return "name: fan\nstages:\n" + "".join(f"  - {{name: s{i}, kind: noop, owner: dev}}\n" for i in range(stages))


# --- ours ---


def run_once(slug: str, text: str, stages: int, workers: Any) -> float:
    """Milliseconds a stage, from the trigger to the moment at which another process sees the run ended."""
    from pipelines.models import Pipeline, Run, Stage
    from pipelines.runs.push import Push
    from pipelines.runs.start import start

    pipeline, _ = Pipeline.objects.get_or_create(slug=slug, defaults={"name": slug, "owner": "dev"})
    push = Push(ref="refs/heads/main", commit="c0ffee" + "0" * 34)
    began = time.perf_counter()
    run = start(pipeline=pipeline, push=push, text=text.encode())
    until(lambda: Run.objects.filter(pk=run.pk, ended_at__isnull=False).exists(), "the run ended", workers, 0.005)
    took = time.perf_counter() - began
    ended = Stage.objects.filter(run=run.pk, state="succeeded").count()
    if ended != stages:
        raise RuntimeError(f"{ended} of {stages} stages succeeded; the figures would mean nothing.")
    return took / stages * 1000


# --- the floor ---


def job_model() -> Any:
    """A table with what a stage and its attempt write, and nothing else."""
    from django.db import connection, models

    class Job(models.Model):  # noqa: DJ008 never shown
        state = models.CharField(max_length=10, default="queued")
        reason = models.TextField(blank=True)
        attempts = models.PositiveIntegerField(default=0)
        worker = models.CharField(max_length=120, blank=True)
        fence = models.PositiveIntegerField(default=0)
        lease_until = models.DateTimeField(null=True)
        heartbeat_at = models.DateTimeField(null=True)
        started_at = models.DateTimeField(null=True)
        ended_at = models.DateTimeField(null=True)
        data = models.JSONField(default=dict)

        class Meta:
            app_label = "bench"
            indexes = [models.Index(fields=["state", "id"], name="job_by_state")]

    with connection.schema_editor() as editor:
        editor.create_model(Job)
    return Job


def claim_and_finish(job: Any, stages: int) -> float:
    """Milliseconds a row."""
    from django.db import transaction
    from django.utils import timezone

    job.objects.bulk_create(job() for _ in range(stages))
    began = time.perf_counter()
    for _ in range(stages):
        with transaction.atomic():
            row = job.objects.filter(state="queued").order_by("id").first()
            now = timezone.now()
            claimed = job.objects.filter(pk=row.pk, state="queued").update(
                state="running", attempts=1, worker="bench", fence=1, lease_until=now, heartbeat_at=now, started_at=now
            )
        if claimed:
            with transaction.atomic():
                job.objects.filter(pk=row.pk, fence=1, state="running").update(
                    state="succeeded", lease_until=None, ended_at=timezone.now(), data={}
                )
    return (time.perf_counter() - began) / stages * 1000


# --- both in turns, so that what else the machine does befalls both ---


def compare(database: str, rounds: int) -> Iterator[Result]:
    from teams.models import Team

    Team.objects.create(slug="dev", name="Dev")
    job = job_model()
    shapes = (("chain", chain(CHAIN), CHAIN), ("fan-out", fan_out(WIDTH), WIDTH))
    with running("manage.py", "workers") as workers:
        for slug, text, stages in shapes:  # the workers import what they need with their first stages
            run_once(slug, text, stages, workers)
        for slug, text, stages in shapes:
            ours, floors = [], []
            for _ in range(rounds):
                floors.append(claim_and_finish(job, stages))
                ours.append(run_once(slug, text, stages, workers))
            name = f"no-op stage of a {stages}-stage {slug}, {database}"
            print(name, [f"{o:.2f}/{f:.2f}" for o, f in zip(ours, floors, strict=True)], file=sys.stderr)
            yield Result(name, median(ours), median(floors), GOAL, "ms")


def main(database: str, rounds: int = ROUNDS) -> None:
    if database == "sqlite":
        os.environ.pop("BURGER_DATABASE_URL", None)
        with home():
            tell(list(compare(database, rounds)))
        return
    try:
        with postgres.server() as address:
            os.environ["BURGER_DATABASE_URL"] = address
            with home():
                tell(list(compare(database, rounds)))
                from django.db import connections

                connections.close_all()
    except FileNotFoundError as missing:
        shapes = (f"{CHAIN}-stage chain", f"{WIDTH}-stage fan-out")
        tell([Result(f"no-op stage of a {s}, postgresql", None, None, GOAL, "ms", note=str(missing)) for s in shapes])


if __name__ == "__main__":
    main(*sys.argv[1:])
