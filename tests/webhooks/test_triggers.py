"""Polling real repositories, and schedules, at times that the tests choose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pipelines import triggers
from pipelines.models import Beat, DefinitionVersion, Delivery, Pipeline, Run
from tests.api.site import git, make_repository

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 12, 30, 20, tzinfo=UTC)


@pytest.fixture
def repository(home: Path, pipeline: Any, tmp_path: Path) -> Path:
    bare = make_repository(tmp_path / "origin")
    Pipeline.objects.filter(pk=pipeline.pk).update(repository=str(bare), poll_seconds=10)
    return bare


@pytest.fixture
def checkout(repository: Path) -> Path:
    return repository.with_name("checkout")


def pushed() -> set[tuple[str, str]]:
    return set(Delivery.objects.values_list("ref", "commit"))


def commit_and_push(checkout: Path, refs: str = "HEAD:main") -> str:
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Next")
    git(checkout, "push", "--quiet", "origin", refs)
    return git(checkout, "rev-parse", "HEAD")


def test_the_first_look_announces_the_default_branch_alone(pipeline, repository, checkout):
    git(checkout, "push", "--quiet", "origin", "HEAD:old-work")
    assert triggers.look(pipeline.pk) == 1
    assert pushed() == {("refs/heads/main", git(checkout, "rev-parse", "HEAD"))}
    assert triggers.look(pipeline.pk) == 0


def test_the_first_look_announces_nothing_that_has_run_already(pipeline, repository, checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    Run.objects.create(pipeline=pipeline, number=1, commit=commit, ref="refs/heads/main", trigger="push")
    assert triggers.look(pipeline.pk) == 0
    assert not pushed()


def test_new_commits_branches_and_tags_are_announced_once(pipeline, repository, checkout):
    triggers.look(pipeline.pk)
    Delivery.objects.all().delete()
    commit = commit_and_push(checkout)
    git(checkout, "tag", "--annotate", "v1", "--message", "one")
    git(checkout, "push", "--quiet", "origin", "v1", "HEAD:feature/x")
    before = Pipeline.objects.get(pk=pipeline.pk).heads
    assert triggers.look(pipeline.pk) == 3
    assert pushed() == {(ref, commit) for ref in ("refs/heads/main", "refs/heads/feature/x", "refs/tags/v1")}
    row = Delivery.objects.get(ref="refs/heads/main")
    assert (row.provider, row.trigger) == ("poll", "push")
    assert row.delivery.startswith("refs/heads/main@")
    assert row.delivery.endswith(f"..{commit}")
    # Even if what was seen is forgotten, as when a process dies before it is kept.
    Pipeline.objects.update(heads=before)
    assert triggers.look(pipeline.pk) == 0


def test_a_branch_that_goes_back_and_forth_is_announced_each_time(pipeline, repository, checkout):
    first = git(checkout, "rev-parse", "HEAD")
    triggers.look(pipeline.pk)
    second = commit_and_push(checkout)
    assert triggers.look(pipeline.pk) == 1
    for commit in (first, second, first, second):
        before = Pipeline.objects.get(pk=pipeline.pk).heads
        git(checkout, "push", "--quiet", "--force", "origin", f"{commit}:main")
        assert triggers.look(pipeline.pk) == 1, "it moved"
        assert triggers.look(pipeline.pk) == 0
        Pipeline.objects.update(heads=before)
        assert triggers.look(pipeline.pk) == 0, "the same move, seen again"
    told = Delivery.objects.filter(ref="refs/heads/main").order_by("pk").values_list("commit", flat=True)
    assert list(told) == [first, second, first, second, first, second]


def test_a_branch_with_a_long_name_is_followed(pipeline, repository, checkout):
    triggers.look(pipeline.pk)
    name = "f#" + "x" * 190
    for _ in range(2):
        commit_and_push(checkout, f"HEAD:{name}")
        assert triggers.look(pipeline.pk) == 1
    assert Delivery.objects.filter(ref=f"refs/heads/{name}").count() == 2


def test_a_polled_commit_becomes_a_run(pipeline, repository, checkout, working):
    triggers.look(pipeline.pk)
    working()
    run = Run.objects.get()
    assert (run.commit, run.state) == (git(checkout, "rev-parse", "HEAD"), "waiting")


def test_a_repository_that_does_not_answer_is_noted_and_asked_again(pipeline, repository, checkout):
    Pipeline.objects.update(repository="/nowhere/at/all")
    assert triggers.look(pipeline.pk) == 0
    assert "ls-remote" in Beat.objects.get(name="poll:demo").data["problem"]
    Pipeline.objects.update(repository=str(repository))
    assert triggers.look(pipeline.pk) == 1
    assert Beat.objects.get(name="poll:demo").data["problem"] == ""
    Pipeline.objects.update(repository="ext::sh -c id")
    assert triggers.look(pipeline.pk) == 0


class Unstarted:
    """Stands for the thread that would look, of which this test needs the start alone."""

    started: list[int] = []

    def __init__(self, *, args: tuple[int], **_: Any) -> None:
        self.pipeline = args[0]

    def start(self) -> None:
        self.started.append(self.pipeline)
        triggers._looked_at.discard(self.pipeline)
        triggers._free.release()


def test_each_pipeline_is_polled_when_its_time_has_come(pipeline, monkeypatch):
    monkeypatch.setattr(triggers.threading, "Thread", Unstarted)
    Unstarted.started.clear()
    assert not triggers.poll(NOW)
    Pipeline.objects.update(poll_seconds=10)
    for seconds, due in ((0, True), (1, False), (9, False), (10, True), (11, False)):
        assert bool(triggers.poll(NOW + timedelta(seconds=seconds))) == due, seconds
    assert Unstarted.started == [pipeline.pk] * 2


@pytest.mark.django_db(transaction=True)
def test_polling_goes_on_in_threads_of_its_own(pipeline, repository):
    threads = triggers.poll(NOW)
    for thread in threads:
        thread.join(20)
    assert len(threads) == 1
    assert Delivery.objects.count() == 1


# --- schedules ------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(pipeline: Any) -> Any:
    """`scheduled(expressions, since)`: the pipeline's accepted file has these schedules since then."""

    def accept(*expressions: str, since: datetime = NOW - timedelta(days=30)) -> None:
        on = ", ".join(f'"{expression}"' for expression in expressions)
        text = f"name: demo\non:\n  schedule: [{on}]\nstages:\n  - {{name: a, kind: noop, owner: dev}}\n"
        digest = f"sha256:{DefinitionVersion.objects.count()}"
        version = DefinitionVersion.objects.create(
            pipeline=pipeline, digest=digest, text=text, commit="0" * 40, accepted_at=since
        )
        assert triggers._schedules(version.pk) == expressions
        Pipeline.objects.filter(pk=pipeline.pk).update(accepted=version)

    triggers._known.clear()
    yield accept
    # Keys are given again once a test's rows are rolled back.
    triggers._schedules.cache_clear()
    triggers._known.clear()


def names() -> list[str]:
    return sorted(Delivery.objects.values_list("delivery", flat=True))


def test_each_due_minute_is_announced_once(scheduled):
    scheduled("30 12 * * *", "0 3 * * *")
    for second in range(0, 39, 5):
        triggers.schedule(NOW + timedelta(seconds=second))
    assert names() == ["cron-30 12 * * *-2026-11-23T12:30Z"]
    row = Delivery.objects.get()
    assert (row.provider, row.trigger, row.ref, row.commit) == ("cron", "schedule", "refs/heads/main", "")
    triggers._known.clear()  # as another process would see it
    assert triggers.schedule(NOW) == 0


def test_after_a_pause_only_the_last_minute_counts_and_only_a_recent_one(scheduled):
    scheduled("* * * * *", "15 12 * * *", "21 12 * * *")
    assert triggers.schedule(NOW) == 2
    assert names() == ["cron-* * * * *-2026-11-23T12:30Z", "cron-21 12 * * *-2026-11-23T12:21Z"]


def test_what_was_due_before_the_file_counted_is_let_go(scheduled):
    scheduled("25 12 * * *", since=NOW - timedelta(minutes=2))
    assert triggers.schedule(NOW) == 0


def test_a_file_that_no_longer_counts_starts_nothing(scheduled):
    scheduled("30 12 * * *")
    scheduled("0 3 * * *")
    assert triggers.schedule(NOW) == 0


def test_a_quiet_second_costs_one_query_each(scheduled):
    scheduled("30 12 * * *", "* * * * *")
    triggers.schedule(NOW)
    with CaptureQueriesContext(connection) as queries:
        triggers.schedule(NOW + timedelta(seconds=5))
        triggers.poll(NOW)
    assert len(queries) == 2


def test_a_scheduled_run_is_of_the_newest_commit(pipeline, repository, checkout, scheduled, working):
    scheduled("30 12 * * *")
    triggers.schedule(NOW)
    commit = commit_and_push(checkout)
    working()
    run = Run.objects.get()
    assert (run.commit, run.trigger) == (commit, "schedule")


def test_a_look_that_takes_longer_than_its_time_is_waited_for(pipeline, monkeypatch):
    """The next one would know the heads that this one began with, and announce every move once more."""
    monkeypatch.setattr(triggers.threading, "Thread", Unstarted)
    monkeypatch.setattr(triggers, "_looked_at", {pipeline.pk})
    Unstarted.started.clear()
    Pipeline.objects.update(poll_seconds=10)
    assert not triggers.poll(NOW)
    triggers._looked_at.clear()
    assert triggers.poll(NOW)


def test_two_sweepers_that_look_at_once_announce_a_move_once(pipeline, checkout):
    triggers.look(pipeline.pk)
    commit_and_push(checkout, "HEAD:slow")
    before = Pipeline.objects.get(pk=pipeline.pk).heads
    assert triggers.look(pipeline.pk) == 1
    Pipeline.objects.update(heads=before)
    assert triggers.look(pipeline.pk) == 0
    assert Delivery.objects.filter(ref="refs/heads/slow").count() == 1
