"""From a push that came in to a run that has started: fetch the commit, read its pipeline file, judge its triggers."""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DataError, transaction
from django.db.models import F, Q
from django.utils import timezone

from pipelines import runs
from pipelines.definition.globs import matches_any
from pipelines.definition.loader import MAX_BYTES
from pipelines.definition.model import Trigger
from pipelines.definition.parse import parse
from pipelines.executors.attempt import WorkFailedError
from pipelines.executors.mirror import Mirror, last_words
from pipelines.executors.source import RefusedInputError, check_address, check_commit, check_ref
from pipelines.models import Delivery, Pipeline
from pipelines.runs.push import PUSHED_BY, as_push
from pipelines.runs.start import TEXT_LIMIT

log = logging.getLogger(__name__)

MOST_COMPARED = 4_000_000  # parts of globs by parts of paths
HOLD = timedelta(seconds=60)  # how long one worker may take for one push
TRIES = 5
HELD_BY = "being fetched by worker "


class FetchFailed(Exception):
    """The repository did not hand the commit out; it may later."""


@dataclass(frozen=True, slots=True)
class Commit:
    name: str
    subject: str
    author: str
    text: bytes | None
    paths: tuple[str, ...]
    problem: str = ""


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
        commit = read_commit(
            row.pipeline, ref=row.ref, commit=row.commit, before=_before(row), known=row.rerun_of_id is not None
        )
    except RefusedInputError as error:
        _close(row, note=str(error))
    except (FetchFailed, WorkFailedError, subprocess.TimeoutExpired) as error:
        if row.tries >= TRIES:
            _close(row, note=str(error))
        else:
            again = timezone.now() + timedelta(seconds=2**row.tries)
            Delivery.objects.filter(pk=row.pk).update(not_before=again, note=str(error))
    else:
        try:
            _start(row, commit)
        except DataError as error:  # it would be the same each time
            log.exception("Delivery %s cannot be stored", row.pk)
            _close(row, note=f"it could not be stored: {str(error).splitlines()[0]}")


def _before(row: Delivery) -> str:
    """The commit of the push before this one to the same ref, "" for the first."""
    earlier = Delivery.objects.filter(pipeline=row.pipeline, ref=row.ref, trigger="push", open=False, pk__lt=row.pk)
    return earlier.exclude(commit="").order_by("-id").values_list("commit", flat=True).first() or ""


def _close(row: Delivery, *, note: str) -> None:
    Delivery.objects.filter(pk=row.pk).update(open=False, note=note)


def _start(row: Delivery, commit: Commit) -> None:
    """The run and the end of the delivery in one transaction, so that neither is ever there without the other."""
    author = everybody(row.author, commit.author)
    push = replace(as_push(row), commit=commit.name, subject=row.subject or commit.subject, author=author)
    # A large file takes seconds to read, and SQLite's one writer would keep everybody waiting for as long.
    why = not_triggered(commit.text, push.ref, commit.paths) if push.trigger == "push" else ""
    result = runs.understood(commit.text) if commit.text is not None and not why else None
    with transaction.atomic():
        fresh = Delivery.objects.select_for_update().get(pk=row.pk)
        if not fresh.open:
            return
        if why:
            _close(row, note=why)
            return
        path = row.pipeline.definition_path
        run = runs.start(
            pipeline=row.pipeline,
            push=push,
            text=commit.text,
            result=result,
            problem=commit.problem
            or f"{path} was not found at commit {commit.name[:12]}. Add it, or name another path in the pipeline.",
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
        return "" if matches_any(tag, on.tags) else f"no tag trigger matches {tag}"
    branch = ref.removeprefix("refs/heads/")
    # As GitHub's: paths without branches mean those of any branch.
    any_branch = on == Trigger() or (on.paths and not on.branches)
    if not any_branch and not matches_any(branch, on.branches):
        return f"no branch trigger matches {branch}"
    if on.paths and paths and not _touches(paths, on.paths):
        return "none of the changed files matches the path triggers"
    return ""


def _touches(paths: Sequence[str], globs: Sequence[str]) -> bool:
    """Whether one of the files matches one of the globs. A push of more than can be compared in seconds does."""
    each, spent = sum(glob.count("/") + 1 for glob in globs), 0
    for path in paths:
        spent += each * (path.count("/") + 1)
        if spent > MOST_COMPARED or matches_any(path, globs):
            return True
    return False


def read_commit(pipeline: Pipeline, *, ref: str, commit: str = "", before: str = "", known: bool = False) -> Commit:
    """Fetch a commit (the ref's present one if none is named) and read what a run needs to know of it.

    A commit has to be on the ref that it is said to come with, since rights follow from the ref; `known` tells of one
    that was found there before. An annotated tag stands for the commit that it is on. `before` is the ref's commit of
    the push before this one, "" where there was none: it tells which files changed.
    """
    mirror = Mirror(Path(settings.HOME), check_address(pipeline.repository))
    if ref:
        check_ref(ref)
    with mirror.locked(_Patient()):
        mirror.prepare()
        if not commit:
            commit = _head(mirror, ref)
        check_commit(commit)
        if not (known and mirror.has(commit)):
            commit = _fetch(mirror, ref, commit)
    facts = _git(mirror, "show", "-s", "--format=%s%x00%an%x00%ae%x00%cn%x00%ce", commit).decode(errors="replace")
    subject, *people = facts.strip().split("\0")
    # What is moved is a change where it was, too.
    diff = ("diff", "--name-only", "--no-renames", "-z", before, commit)
    paths = _git(mirror, *diff, check=False) if before else b""
    changed = tuple(path for path in paths.decode(errors="replace").split("\0") if path)
    text, problem = _definition(mirror, f"{commit}:{pipeline.definition_path}")
    return Commit(commit, subject, _author(*people), text, changed, problem)


def _author(name: str, address: str, committer: str, its_address: str) -> str:
    """Who wrote the commit, and who made it where that is somebody else: either may have asked for it."""
    people = dict.fromkeys([f"{name[:40]} <{address[:100]}>"])
    if its_address.lower() != address.lower():
        people[f"{committer[:40]} <{its_address[:100]}>"] = None
    return ", ".join(people)


def everybody(told: str, found: str) -> str:
    """Whom the provider named, and of the commit's own people those whom it did not: any of them may have asked for it,
    and none of them may approve it."""
    named, found = told.lower(), found.replace(PUSHED_BY, " ")
    more = [one for one in re.findall(r"[^<>]+<[^<>]*>", found) if one[one.index("<") :].lower() not in named]
    people = ", ".join([*([told] if told else []), *(one.strip(", ") for one in more)]) or found
    if len(people) <= TEXT_LIMIT:
        return people
    # A long name must not push anybody's address out of what is kept.
    addresses = dict.fromkeys(re.findall(r"<([^<>]*)>", people))
    return ", ".join(f"<{address[:90]}>" for address in addresses)


def _definition(mirror: Mirror, blob: str) -> tuple[bytes | None, str]:
    """The pipeline file, or why there is none. One that is far too large is not even read."""
    size = _git(mirror, "cat-file", "-s", blob, check=False).strip()
    if not size:
        return None, ""
    if int(size) > MAX_BYTES:
        return None, f"The pipeline file has {int(size)} bytes; at most {MAX_BYTES} are read."
    return _git(mirror, "cat-file", "blob", blob), ""


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


def _fetch(mirror: Mirror, ref: str, name: str) -> str:
    """Fetch the ref, and keep the commit if it is there. `name` may be that of an annotated tag."""
    kept = f"refs/burger-refs/{hashlib.sha256(ref.encode()).hexdigest()}"
    options = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", mirror.address)
    _git(mirror, *options, f"+{ref}:{kept}")
    found = _git(mirror, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).decode().strip()
    if not found or not _succeeds(mirror, "merge-base", "--is-ancestor", found, kept):
        raise RefusedInputError(f"Commit {name[:12]} is not on {ref}. It was never pushed there, or it was replaced.")
    _git(mirror, "update-ref", f"refs/burger/{found}", found)
    return found


def _succeeds(mirror: Mirror, *arguments: str) -> bool:
    return _run(mirror, *arguments).returncode == 0


def _git(mirror: Mirror, *arguments: str, check: bool = True) -> bytes:
    done = _run(mirror, *arguments)
    if done.returncode and check:
        raise FetchFailed(f"git {arguments[0]} failed: {last_words(done.stderr) or done.returncode}")
    return done.stdout if done.returncode == 0 else b""


def _run(mirror: Mirror, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", *arguments], env=mirror.environment(), cwd=mirror.folder, capture_output=True, timeout=25, check=False
    )
