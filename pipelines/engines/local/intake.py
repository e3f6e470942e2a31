"""From a push that came in to a run that has started: fetch the commit, read its pipeline file, judge its triggers."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from pipelines import runs
from pipelines.definition.model import Trigger
from pipelines.definition.parse import parse
from pipelines.executors.attempt import WorkFailedError
from pipelines.executors.mirror import Mirror
from pipelines.executors.source import RefusedInputError, check_address, check_commit, check_ref
from pipelines.models import Delivery, Pipeline
from pipelines.runs.push import as_push

HOLD = timedelta(seconds=60)  # how long one worker may take for one push
TRIES = 5
HELD_BY = "being fetched by worker "
NO_COMMIT = "0" * 40


class FetchFailed(Exception):
    """The repository did not hand the commit out; it may later."""


@dataclass(frozen=True, slots=True)
class Commit:
    name: str
    subject: str
    author: str
    text: bytes | None
    paths: tuple[str, ...]


def take_one(worker: str) -> bool:
    """Handle the push that has waited longest; False if there is none."""
    now = timezone.now()
    due = Q(not_before=None) | Q(not_before__lte=now)
    row = Delivery.objects.filter(due, open=True).order_by("id").first()
    if row is None:
        return False
    mine = Delivery.objects.filter(due, pk=row.pk, open=True).update(
        not_before=now + HOLD, tries=F("tries") + 1, note=f"{HELD_BY}{worker}"
    )
    if mine:
        _handle(Delivery.objects.select_related("pipeline", "requested_by", "rerun_of").get(pk=row.pk))
    return True


def _handle(row: Delivery) -> None:
    if row.tries > TRIES:
        _close(row, note=f"given up: {TRIES} workers were lost while they fetched it; push again, or have a look")
        return
    try:
        commit = read_commit(row.pipeline, ref=row.ref, commit=row.commit)
    except RefusedInputError as error:
        _close(row, note=str(error))
    except (FetchFailed, WorkFailedError, subprocess.TimeoutExpired) as error:
        if row.tries >= TRIES:
            _close(row, note=str(error))
        else:
            again = timezone.now() + timedelta(seconds=2**row.tries)
            Delivery.objects.filter(pk=row.pk).update(not_before=again, note=str(error))
    else:
        _start(row, commit)


def _close(row: Delivery, *, note: str) -> None:
    Delivery.objects.filter(pk=row.pk).update(open=False, note=note)


def _start(row: Delivery, commit: Commit) -> None:
    """The run and the end of the delivery in one transaction, so that neither is ever there without the other."""
    push = replace(
        as_push(row), commit=commit.name, subject=row.subject or commit.subject, author=row.author or commit.author
    )
    with transaction.atomic():
        fresh = Delivery.objects.select_for_update().get(pk=row.pk)
        if not fresh.open:
            return
        if push.trigger == "push" and (why := not_triggered(commit.text, push.ref, commit.paths)):
            _close(row, note=why)
            return
        path = row.pipeline.definition_path
        run = runs.start(
            pipeline=row.pipeline,
            push=push,
            text=commit.text,
            problem=f"{path} was not found at commit {commit.name[:12]}. Add it, or name another path in the pipeline.",
        )
        Delivery.objects.filter(pk=row.pk).update(open=False, run=run, commit=commit.name, note="")


def not_triggered(text: bytes | None, ref: str, paths: Sequence[str]) -> str:
    """Why a push starts no run, in words; "" if it does. A file with problems always starts one, which says them."""
    definition = parse(text).definition if text else None
    if definition is None:
        return ""
    on = definition.triggers
    if ref.startswith("refs/tags/"):
        tag = ref.removeprefix("refs/tags/")
        return "" if _matches(tag, on.tags) else f"no tag trigger matches {tag}"
    branch = ref.removeprefix("refs/heads/")
    if on != Trigger() and not _matches(branch, on.branches):
        return f"no branch trigger matches {branch}"
    if on.paths and paths and not any(_matches(path, on.paths) for path in paths):
        return "none of the changed files matches the path triggers"
    return ""


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def read_commit(pipeline: Pipeline, *, ref: str, commit: str = "") -> Commit:
    """Fetch a commit (the ref's present one if none is named) and read what a run needs to know of it."""
    mirror = Mirror(Path(settings.HOME), check_address(pipeline.repository))
    if ref:
        check_ref(ref)
    with mirror.locked(_Patient()):
        mirror.prepare()
        if not commit or commit == NO_COMMIT:
            commit = _head(mirror, ref)
        check_commit(commit)
        if not mirror.has(commit):
            _fetch(mirror, ref, commit)
    facts = _git(mirror, "show", "-s", "--format=%s%x00%an <%ae>", commit).decode(errors="replace").strip()
    subject, _, author = facts.partition("\0")
    shown = _git(mirror, "cat-file", "blob", f"{commit}:{pipeline.definition_path}", check=False)
    listed = _git(mirror, "diff-tree", "--no-commit-id", "--name-only", "-r", "-z", "--root", commit, check=False)
    paths = tuple(p for p in (listed or b"").decode(errors="replace").split("\0") if p)
    return Commit(commit, subject, author, shown or None, paths)


class _Patient:
    """A Control for work that nobody cancels; a mirror is locked for seconds at most."""

    def stopping(self) -> bool:
        return False

    def commands(self) -> Sequence[str]:
        return ()


def _head(mirror: Mirror, ref: str) -> str:
    said = _git(mirror, "ls-remote", "--", mirror.address, ref).decode(errors="replace")
    for line in said.splitlines():
        commit, _, name = line.partition("\t")
        if name == ref:
            return commit
    raise RefusedInputError(f"{ref} was not found in the repository. Push it, or name a ref that is there.")


def _fetch(mirror: Mirror, ref: str, commit: str) -> None:
    options = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", mirror.address)
    into = f"refs/burger/{commit}"
    _git(mirror, *options, f"+{commit}:{into}", check=False)
    if not mirror.has(commit) and ref:
        _git(mirror, *options, f"+{ref}:{into}", check=False)
    if not mirror.has(commit):
        raise FetchFailed(f"Commit {commit[:12]} could not be fetched from {mirror.address}.")


def _git(mirror: Mirror, *arguments: str, check: bool = True) -> bytes:
    done = subprocess.run(
        ["git", *arguments], env=mirror.environment(), cwd=mirror.folder, capture_output=True, timeout=50, check=False
    )
    if done.returncode and check:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise FetchFailed(f"git {arguments[0]} failed: {said[-1] if said else done.returncode}")
    return done.stdout if done.returncode == 0 else b""
