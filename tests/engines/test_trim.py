"""Trimming a real installation: real runs, a real store and mirror, real processes."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from pipelines import retention, runs
from pipelines.engines.local import holdings, trim
from pipelines.executors import process
from pipelines.executors.base import Unattended
from pipelines.executors.store import Store
from pipelines.models import Attempt, Beat, Event, Pipeline, Run, Stage
from teams.models import AuditEntry
from tests.api.site import git, make_repository
from tests.pipelines.helpers import begin, stage

pytestmark = pytest.mark.django_db

FILE = """
stages:
  - {name: source, kind: source, owner: dev}
  - {name: build, kind: slug, owner: dev, needs: [source], with: {component: shop, command: [sh, -c, "%s"]}}
  - {name: check, kind: command, owner: dev, needs: [source], with: {command: [sh, -c, "echo looked; exit 1"]}}
"""
OLD = 100.0  # days


def age(path: Path, days: float = OLD) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


@pytest.fixture
def repository(home: Path, pipeline: Any, tmp_path: Path) -> str:
    """Of the pipeline; returns its one commit."""
    bare = make_repository(tmp_path / "origin")
    Pipeline.objects.filter(pk=pipeline.pk).update(repository=str(bare))
    pipeline.refresh_from_db()
    return git(tmp_path / "origin" / "checkout", "rev-parse", "HEAD")


@pytest.fixture
def old(home: Path, pipeline: Any, repository: str, working: Any) -> Run:
    """A run that ended long ago, with so many after it that it is none of the newest; so are its files."""
    run = begin(pipeline, FILE % "echo built > made", commit=repository)
    working()
    run.refresh_from_db()
    assert run.state == "failed", run.reason
    Run.objects.filter(pk=run.pk).update(ended_at=timezone.now() - timedelta(days=OLD))
    now = timezone.now()
    Run.objects.bulk_create(
        Run(pipeline=pipeline, number=number, commit="9" * 40, ref="r", trigger="push", state="succeeded", ended_at=now)
        for number in range(50, 50 + retention.NEWEST)
    )
    Pipeline.objects.filter(pk=pipeline.pk).update(last_number=99)
    everything_is_old(home)
    return Run.objects.get(pk=run.pk)


def everything_is_old(home: Path) -> None:
    for pattern in ("store/sha256/*/*", "slugs/*", "work/*", "mirrors/*", "mirrors/*/refs/*/*"):
        for path in home.glob(pattern):
            age(path)


def digests(run: Run) -> set[str]:
    return {made["digest"] for artifacts in run.stages.values_list("artifacts", flat=True) for made in artifacts}


def names(plan: retention.Plan, kind: str) -> set[str]:
    return {item.name for item in plan.of(kind)}


def test_of_an_old_run_the_record_stays_and_the_rest_goes(home, old, working, cast, repository):
    made, keys = digests(old), set(Attempt.objects.values_list("key", flat=True))
    states = list(old.stages.values_list("name", "state", "reason"))
    kinds = set(old.events.values_list("kind", flat=True))
    audit = AuditEntry.objects.count()
    assert len(made) == 2
    assert {"log", "stage", "run"} <= kinds
    assert {path.name for path in (home / "work").iterdir()} == keys

    seen = trim.preview()
    assert names(seen, "run") == {f"demo/{old.number}"}
    assert names(seen, "content") == made
    assert names(seen, "folder") == keys
    assert len(names(seen, "commit")) == 1
    assert sum(item.size for item in seen.of("run")) > len("looked")
    store = Store(home)
    assert all(store.has(digest) for digest in made), "looking deletes nothing"

    gone = trim.trim()
    assert {kind: names(gone, kind) for kind in ("run", "folder", "content", "commit")} == {
        kind: names(seen, kind) for kind in ("run", "folder", "content", "commit")
    }
    assert not any(store.has(digest) for digest in made)
    assert list((home / "work").iterdir()) == []
    old.refresh_from_db()
    assert old.trimmed_at is not None
    assert set(old.events.values_list("kind", flat=True)) == kinds - {"log", "progress"}
    assert list(old.stages.values_list("name", "state", "reason")) == states
    assert AuditEntry.objects.count() == audit
    assert trim.trim().remove == (), "a second time there is nothing left to do"
    # Its mirror still works: the same commit is fetched and built anew.
    again = begin(old.pipeline, FILE % "echo built > made", commit=repository)
    working()
    assert stage(again, "build").state == "succeeded"
    assert digests(again) == made


def test_page_api_and_refusals_say_that_it_was_trimmed(old, cast):
    trim.trim()
    client = Client()
    client.force_login(cast.ann)
    page = client.get(f"/runs/demo/{old.number}?stage=check&tab=log").content.decode()
    assert "Its log and what it made were removed" in page
    assert "Retry" not in page
    answer = client.get(f"/api/runs/demo/{old.number}").json()
    assert answer["trimmed_at"]
    for what in (
        answer["may"]["retry-failed"],
        answer["stages"][2]["may"]["retry"],
        answer["stages"][2]["may"]["skip"],
    ):
        assert not what["allowed"]
        assert "Run its commit again" in what["reason"]
    failed = stage(old, "check")
    for action in (
        lambda: runs.retry(stage=failed.pk, user=cast.ann),
        lambda: runs.skip(stage=failed.pk, user=cast.ann, reason="never mind"),
        lambda: runs.retry_failed(run=old.pk, user=cast.ann),
    ):
        with pytest.raises(runs.Conflict, match="Run its commit again as a new run"):
            action()
    assert runs.rerun(run=old.pk, user=cast.ann).open


def test_what_an_environment_runs_or_can_go_back_to_stays(home, old):
    slug = stage(old, "build").artifacts[0]["digest"]
    tree = Store(home).unpacked(slug)
    age(tree)
    kept = home / "environments" / "production" / "releases" / "demo-1.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"name": "demo-1", "services": {"backend": {"digest": slug}}}))
    gone = trim.trim()
    assert slug not in names(gone, "content") | names(gone, "tree")
    assert (Store(home).has(slug), (tree / "made").read_text()) == (True, "built\n")
    assert [item.reason for item in gone.keep if item.name == slug] == ["production runs it or can go back to it"] * 2
    kept.unlink()
    gone = trim.trim()
    assert (names(gone, "content"), names(gone, "tree")) == ({slug}, {slug})
    assert not tree.exists()


@pytest.mark.parametrize("again", ["added", "unpacked"])
def test_what_is_wanted_again_between_the_look_and_the_deed_stays(home, old, monkeypatch, again):
    """A build that makes the same bytes as long ago must find them there when it is done."""
    store, digest = Store(home), stage(old, "build").artifacts[0]["digest"]
    content = store.path(digest).read_bytes()
    age(store.unpacked(digest))
    age(store.path(digest))
    real = holdings.gather

    def gather(now, **options):
        found = real(now, **options)
        if options.get("files", True):
            assert store.add_bytes(content)[0] == digest if again == "added" else store.unpacked(digest)
        return found

    monkeypatch.setattr(holdings, "gather", gather)
    gone = trim.trim()
    kind = {"added": "content", "unpacked": "tree"}[again]
    assert digest not in names(gone, kind)
    assert store.has(digest) if again == "added" else (store.slugs / digest.removeprefix("sha256:")).is_dir()


def test_a_run_that_somebody_takes_up_meanwhile_keeps_all_it_has(home, old, cast, working, monkeypatch):
    real = holdings.gather

    def gather(now, **options):
        found = real(now, **options)
        if not options.get("files", True):
            runs.retry(stage=stage(old, "check").pk, user=cast.ann)
        return found

    monkeypatch.setattr(holdings, "gather", gather)
    gone = trim.trim()
    assert not names(gone, "run") | names(gone, "content") | names(gone, "folder")
    working()
    assert stage(old, "check").attempts_made == 2
    assert old.events.filter(kind="log").exists()


def test_a_folder_in_which_something_runs_stays(home):
    """Even one of an attempt that this database, put back to an earlier state, has never heard of."""
    folder = home / "work" / "s1-1-lost"
    env = {"PATH": "/usr/bin:/bin"}
    going = process.run(folder / "process", ["sh", "-c", "echo on; sleep 60"], cwd=home, env=env, control=Unattended())
    next(going)
    age(folder)
    try:
        assert names(trim.trim(), "folder") == set()
        assert process.probe(folder / "process").state == "running"
    finally:
        process.cancel(folder / "process", grace=0)
        with suppress(RuntimeError):
            going.close()
    age(folder)
    assert names(trim.trim(), "folder") == {folder.name}


def test_whoever_was_killed_half_way_is_made_up_for(home, old):
    Run.objects.filter(pk=old.pk).update(trimmed_at=timezone.now())
    (home / "store" / "tmp" / "half").write_text("x")
    age(home / "store" / "tmp" / "half")
    trim.trim()
    assert not old.events.filter(kind="log").exists()
    assert not (home / "store" / "tmp" / "half").exists()


def test_a_mirror_that_nobody_uses_goes_as_a_whole(home, old, pipeline):
    assert names(trim.preview(), "mirror") == set()
    Pipeline.objects.filter(pk=pipeline.pk).update(repository="/another/place")
    everything_is_old(home)
    mirror = next(path for path in (home / "mirrors").iterdir() if path.is_dir())
    assert names(trim.trim(), "mirror") == {mirror.name}
    assert not mirror.exists()


def test_the_command_shows_first_and_then_does_it(home, old):
    shown, done = io.StringIO(), io.StringIO()
    call_command("trim", "--dry-run", "-v", "2", stdout=shown)
    assert "logs of runs: 1 (" in shown.getvalue()
    assert "would be deleted" in shown.getvalue()
    assert f"- demo/{old.number} " in shown.getvalue()
    assert "it ended 100 days ago" in shown.getvalue()
    old.refresh_from_db()
    assert old.trimmed_at is None
    call_command("trim", stdout=done)
    assert "contents of the store: 2 (" in done.getvalue()
    with trim._alone(), pytest.raises(CommandError, match="Somebody else trims"):
        call_command("trim")


def test_with_no_limit_it_does_nothing(home, old, settings):
    settings.KEEP_RUNS = 0
    assert trim.trim().remove == ()
    assert trim.Turns().take(timezone.now()) is None


def test_the_sweeper_does_it_once_in_a_while(home, monkeypatch):
    done: list[bool] = []
    monkeypatch.setattr(trim, "trim", lambda: done.append(True) or retention.Plan((), ()))
    now, turns = timezone.now(), trim.Turns()
    assert turns.take(now) is None, "what was installed just now has no history"
    assert turns.take(now + trim.EVERY) is None, "it does not ask the database each second"
    thread = trim.Turns().take(now + trim.EVERY)
    assert thread is not None
    thread.join(20)
    assert done == [True]
    assert trim.Turns().take(now + trim.EVERY) is None, "another sweeper has done it"
    assert Beat.objects.get(name="trim").at == now + trim.EVERY


def test_a_log_of_many_pieces_goes_in_small_transactions(home, old, monkeypatch):
    monkeypatch.setattr(trim, "CHUNK", 7)
    first = stage(old, "check")
    Event.objects.bulk_create(
        Event(run=old, seq=1000 + n, kind="log", stage=first, data={"text": "x"}, at=timezone.now()) for n in range(30)
    )
    trim.trim()
    assert not Event.objects.filter(run=old, kind="log").exists()
    assert Stage.objects.filter(run=old).count() == 3
