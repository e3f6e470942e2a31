"""The sweeper's round: what clusters keep, without waiting for them, and workers that have stalled."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from pipelines.engines import environments
from pipelines.engines.local import claim, intake, loop, sweep
from pipelines.models import Attempt, Delivery, Stage
from tests.pipelines.helpers import begin


@pytest.fixture
def rounds(db, monkeypatch):
    monkeypatch.setattr(loop, "RETIRE", 0.0)
    return loop.Loop()


def test_a_cluster_that_does_not_answer_holds_up_no_round(rounds, monkeypatch):
    asked, answer = [], threading.Event()

    def slow() -> list[str]:
        asked.append(time.monotonic())
        answer.wait(30)
        return ["r1"]

    monkeypatch.setattr(environments, "retire", slow)
    try:
        rounds.round()
        rounds.round()
        assert len(asked) == 1, "it is asked again only once it has answered"
    finally:
        answer.set()
    rounds._retiring.join(30)
    rounds.round()
    rounds._retiring.join(30)
    assert len(asked) == 2


def test_a_cluster_that_cannot_be_asked_is_logged(rounds, monkeypatch, caplog):
    def broken() -> list[str]:
        raise ValueError("the cluster main refuses")

    monkeypatch.setattr(environments, "retire", broken)
    rounds.round()
    rounds._retiring.join(30)
    assert "the cluster main refuses" in caplog.text


WIDE = "stages:\n" + "".join(f"  - {{name: s{i}, kind: noop, owner: dev}}\n" for i in range(6))


@pytest.fixture
def wide(pipeline):
    """A run of whose ready stages one is taken; the others have waited for a minute."""
    run = begin(pipeline, WIDE)
    ago = timezone.now() - timedelta(minutes=1)
    claimed = claim.next_attempt("w")
    Stage.objects.filter(state="queued").update(since=ago)
    return SimpleNamespace(run=run, attempt=Attempt.objects.filter(pk=claimed.attempt), ago=ago)


def test_workers_that_take_one_thing_after_another_have_not_stalled(wide):
    assert not sweep.is_stalled()
    wide.attempt.update(open=False, state="succeeded", lease_until=None)
    assert not sweep.is_stalled(), "it is between two stages"
    wide.attempt.update(started_at=wide.ago)
    assert sweep.is_stalled()


def test_nor_have_those_that_fetch_one_push_after_another(wide, pipeline):
    wide.attempt.update(open=False, state="succeeded", lease_until=None, started_at=wide.ago)
    taken = timezone.now() - timedelta(seconds=1)
    row = Delivery.objects.create(pipeline=pipeline, provider="git", delivery="d", ref="refs/heads/main", open=False)
    Delivery.objects.filter(pk=row.pk).update(not_before=taken + intake.HOLD)
    assert not sweep.is_stalled()
    Delivery.objects.filter(pk=row.pk).update(not_before=wide.ago + intake.HOLD)
    assert sweep.is_stalled()


def test_workers_that_have_only_just_started_are_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "workers.pid"
    monkeypatch.setattr(loop, "workers_file", lambda: path)
    with subprocess.Popen(["sleep", "60"]) as workers, path.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        path.write_text(json.dumps({"pid": workers.pid}))
        loop.restart_workers()
        assert workers.poll() is None
        os.utime(path, (0, 0))
        loop.restart_workers()
        assert workers.wait(30) == -signal.SIGKILL


def test_what_a_killed_sweeper_began_is_done_by_the_next(wide, monkeypatch):
    monkeypatch.setattr(sweep, "is_dead", lambda _: True)
    monkeypatch.setattr(sweep, "ended_with_the_others", lambda _: True)
    wide.attempt.update(claims=0)  # it was counted, and not yet given up
    sweep._dead_workers(timezone.now())
    assert Stage.objects.filter(state="unknown", reason_code="lost").count() == 1
