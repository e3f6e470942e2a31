"""From a push to a run, against real repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from django.db import DataError

from pipelines import runs
from pipelines.engines.local import intake
from pipelines.engines.local.intake import FetchFailed, everybody, not_triggered, read_commit
from pipelines.executors.source import RefusedInputError
from pipelines.models import Delivery, Run
from pipelines.runs import Push, receive
from pipelines.runs.actions import requested_by
from teams.models import User

pytestmark = pytest.mark.django_db

FILE = "name: demo\non: {branches: [main], paths: ['src/**']}\nstages: [{name: a, kind: noop, owner: dev}]\n"


class Origin:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
        done = subprocess.run(["git", *identity, *arguments], cwd=self.path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, more: tuple[str, ...] = (), **files: str) -> str:
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        (self.path / "pipeline.yaml").write_text(FILE)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change", *more)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path, pipeline, home):
    made = Origin(tmp_path / "origin")
    pipeline.repository = str(made.path)
    pipeline.save()
    return made


def test_a_commit_has_to_be_on_the_ref_that_it_is_said_to_come_with(origin, pipeline):
    on_main = origin.commit(src="1")
    origin.git("checkout", "--quiet", "-b", "feature")
    aside = origin.commit(src="2")
    assert read_commit(pipeline, ref="refs/heads/main", commit=on_main).name == on_main
    assert read_commit(pipeline, ref="refs/heads/feature", commit=aside).name == aside
    with pytest.raises(RefusedInputError, match="is not on refs/heads/main"):
        read_commit(pipeline, ref="refs/heads/main", commit=aside)


def test_an_annotated_tag_is_the_commit_that_it_is_on(origin, pipeline):
    """Hooks and providers name the tag's own object, which no run could fetch."""
    commit = origin.commit(src="1")
    origin.git("tag", "--annotate", "--message", "One", "v1")
    tag = origin.git("rev-parse", "v1")
    assert tag != commit
    for name in (tag, commit, ""):
        found = read_commit(pipeline, ref="refs/tags/v1", commit=name)
        assert (found.name, found.subject) == (commit, "A change")
    origin.git("tag", "--annotate", "--message", "A tree", "v2", "HEAD^{tree}")
    for name in (origin.git("rev-parse", "v2"), "", "0" * 40):
        with pytest.raises(RefusedInputError, match="is not on refs/tags/v2"):
            read_commit(pipeline, ref="refs/tags/v2", commit=name)


def test_a_repository_that_is_away_is_named_in_one_line(origin, pipeline):
    """Git's last line is half a sentence of advice."""
    origin.path.rename(origin.path.with_name("moved"))
    with pytest.raises(FetchFailed, match=f"'{origin.path}' does not appear to be a git repository"):
        read_commit(pipeline, ref="refs/heads/main")


def test_what_no_database_takes_is_not_tried_for_ever(origin, pipeline, working, monkeypatch):
    def refuse(**_):
        raise DataError("\\u0000 cannot be converted to text.\nDETAIL: of the whole row")

    monkeypatch.setattr(runs, "start", refuse)
    receive(pipeline, Push(ref="refs/heads/main", commit=origin.commit(src="1")), provider="github", delivery="1")
    working()
    delivery = Delivery.objects.get()
    assert (delivery.open, delivery.tries) == (False, 1)
    assert delivery.note == "it could not be stored: \\u0000 cannot be converted to text."


def test_a_push_of_more_than_can_be_compared_counts_as_one_that_touches_something(monkeypatch):
    text = b"name: demo\non: {paths: ['src/**', 'lib/**']}\nstages: [{name: a, kind: noop, owner: dev}]\n"
    files = [f"doc/{n}" for n in range(100)]
    assert not_triggered(text, "refs/heads/main", files) == "none of the changed files matches the path triggers"
    monkeypatch.setattr(intake, "MOST_COMPARED", 99 * 2 * 4)
    assert not_triggered(text, "refs/heads/main", files) == ""


def test_author_and_committer_are_both_known(origin, pipeline):
    commit = origin.commit(("--author", "Otto <otto@example.com>"))
    assert read_commit(pipeline, ref="refs/heads/main", commit=commit).author == (
        "Otto <otto@example.com>, Ann <ann@example.com>"
    )


def test_all_who_had_a_hand_in_a_push_are_kept_and_none_of_them_may_approve_it(origin, pipeline, working, cast):
    commit = origin.commit(("--author", "Otto <otto@example.com>"))
    push = Push(ref="refs/heads/main", commit=commit, author="Paula <paula@example.com>, pushed by otto",
                requested_by=cast.olga)  # fmt: skip
    receive(pipeline, push, provider="git", delivery="1")
    working()
    run = Run.objects.get()
    assert run.author == ("Paula <paula@example.com>, pushed by otto, Otto <otto@example.com>, Ann <ann@example.com>")
    for person, address in ((cast.ann, "ann@example.com"), (cast.pete, "otto@example.com")):
        person.email = address
        assert requested_by(run, person), address
    assert requested_by(run, cast.olga), "who pushed it"


@pytest.mark.parametrize(
    ("pusher", "known"), [("otto <otto@example.com>", "otto"), ("pete <otto@example.com>", "otto"), ("otto", None)]
)
def test_who_pushed_is_who_the_provider_says_whatever_the_commit_says(origin, pipeline, working, cast, pusher, known):
    """By the address: a name alone is what people give themselves."""
    assert User.objects.filter(username="otto").update(email="otto@example.com")
    forged = f"{cast.olga.username} <{cast.olga.email}>"
    commit = origin.commit(("--author", f"x, pushed by {forged}"))
    push = Push(ref="refs/heads/main", commit=commit, author=f"{forged}, pushed by {pusher}")
    receive(pipeline, push, provider="github", delivery="1")
    working()
    assert getattr(Run.objects.get().requested_by, "username", None) == known


def test_a_long_name_pushes_nobody_out():
    told = "x" * 280 + " <otto@example.com>"
    kept = everybody(told, "Ann <ann@example.com>, Otto <otto@example.com>")
    assert kept == "<otto@example.com>, <ann@example.com>"
    assert everybody("", "Ann <ann@example.com>") == "Ann <ann@example.com>"
    assert everybody("Doe, Ann <ANN@example.com>", "Doe, Ann <ann@example.com>") == "Doe, Ann <ANN@example.com>"


def test_a_file_that_is_far_too_large_is_not_read(origin, pipeline, monkeypatch):
    monkeypatch.setattr("pipelines.engines.local.intake.MAX_BYTES", 10)
    commit = read_commit(pipeline, ref="refs/heads/main", commit=origin.commit())
    assert commit.text is None
    assert "at most 10 are read" in commit.problem


def test_paths_are_those_of_the_whole_push(origin, pipeline, working):
    def push(commit: str) -> Delivery:
        told = runs.Push(ref="refs/heads/main", commit=commit)
        row, _ = runs.receive(pipeline, told, provider="git", delivery=commit)
        working()
        row.refresh_from_db()
        return row

    assert push(origin.commit(readme="1")).run is not None, "of the first push, nothing is known to compare with"
    origin.commit(src__a="1")
    assert push(origin.commit(readme="2")).run is not None
    last = push(origin.commit(readme="3"))
    assert last.run is None
    assert last.note == "none of the changed files matches the path triggers"


def test_what_is_moved_out_of_a_path_is_a_change_in_it(origin, pipeline):
    before = origin.commit(src__a="a long enough text to be found again\n")
    (origin.path / "lib").mkdir()
    origin.git("mv", "src/a", "lib/a")
    moved = origin.commit()
    found = read_commit(pipeline, ref="refs/heads/main", commit=moved, before=before)
    assert set(found.paths) == {"src/a", "lib/a"}


@pytest.mark.parametrize(
    ("on", "ref", "path", "starts"),
    [
        ("{paths: ['src/**']}", "refs/heads/any/branch", "src/a", True),
        ("{paths: ['src/**']}", "refs/heads/any/branch", "lib/a", False),
        ("{paths: ['src/**']}", "refs/tags/v1", "src/a", False),
        ("{paths: ['src/**'], branches: [main]}", "refs/heads/other", "src/a", False),
        ("{tags: ['v*']}", "refs/heads/main", "src/a", False),
        ("{tags: ['v*']}", "refs/tags/v1", "src/a", True),
        ("{branches: ['release/*']}", "refs/heads/release/1", "src/a", True),
        ("{branches: ['release/*']}", "refs/heads/release/1/fix", "src/a", False),
    ],
)
def test_which_pushes_start_a_run(on, ref, path, starts):
    text = f"name: demo\non: {on}\nstages: [{{name: a, kind: noop, owner: dev}}]\n"
    assert (not_triggered(text.encode(), ref, [path]) == "") is starts
