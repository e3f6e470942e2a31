"""Runs that nothing outside announces: commits found by looking into repositories, and schedules of pipeline files.

The sweeper calls `poll` and `schedule` once a second; both may be called at any time, any number of times.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from croniter import croniter
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from . import runs
from .definition.parse import parse
from .engines.addresses import RefusedInputError, check_address, check_commit, check_ref
from .engines.local.intake import Mirror, last_words
from .models import Beat, DefinitionVersion, Delivery, Pipeline, Run

log = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds for a repository to list its refs
LOOKS = 4  # repositories that are asked at the same time
MOVE_LIMIT = 180  # characters of a delivery's name that tell a move
CATCH_UP = timedelta(minutes=10)  # how late a scheduled run may start; earlier minutes are let go

_free = threading.BoundedSemaphore(LOOKS)
_looked_at: set[int] = set()  # pipelines of which a look is under way: the next one would know what this one began with


class PollError(Exception):
    """The repository did not say what is in it."""


# --- polling --------------------------------------------------------------------------------------


def poll(now: datetime) -> list[threading.Thread]:
    """Look into every repository whose time has come, each in a thread of its own: one that does not answer must not
    hold up the sweeper. Returns the threads."""
    rows = Pipeline.objects.filter(poll_seconds__gt=0).values_list("pk", "polled_at", "poll_seconds")
    due = [(pk, seen) for pk, seen, every in rows if seen is None or seen + timedelta(seconds=every) <= now]
    started = []
    for pk, seen in sorted(due, key=lambda one: one[1] or datetime.min.replace(tzinfo=UTC)):
        if pk in _looked_at:
            continue
        if not _free.acquire(blocking=False):
            break
        # Whoever changes the time looks; a sweeper that is being replaced may still be there.
        if Pipeline.objects.filter(pk=pk, polled_at=seen).update(polled_at=now):
            _looked_at.add(pk)
            thread = threading.Thread(target=_look_and_release, args=(pk,), name=f"poll-{pk}", daemon=True)
            thread.start()
            started.append(thread)
        else:
            _free.release()
    return started


def _look_and_release(pipeline: int) -> None:
    try:
        look(pipeline)
    except Exception:
        log.exception("Pipeline %s could not be polled", pipeline)
    finally:
        connection.close()
        _looked_at.discard(pipeline)
        _free.release()


def look(pipeline: int) -> int:
    """Ask one repository for its heads, and announce what is new. Returns how many pushes that were.

    The first look only announces the default branch: what was there before is not news.
    """
    row = Pipeline.objects.get(pk=pipeline)
    try:
        heads = list_heads(row.repository)
    except (PollError, RefusedInputError) as error:
        log.warning("Pipeline %s could not be polled: %s", row.slug, error)
        _note(row, str(error))
        return 0
    fresh = {ref: commit for ref, commit in heads.items() if row.heads.get(ref) != commit}
    if not row.heads:
        fresh = _first(row, heads)
    new = sum(_announce(row, ref, commit, row.heads.get(ref, "")) for ref, commit in fresh.items())
    if heads != row.heads:
        Pipeline.objects.filter(pk=row.pk).update(heads=heads)
    _note(row, "")
    return new


def _first(pipeline: Pipeline, heads: Mapping[str, str]) -> dict[str, str]:
    ref = f"refs/heads/{pipeline.default_branch}"
    if ref not in heads or Run.objects.filter(pipeline=pipeline, ref=ref, commit=heads[ref]).exists():
        return {}
    return {ref: heads[ref]}


def _announce(pipeline: Pipeline, ref: str, commit: str, before: str) -> bool:
    """Named by where the ref was before and by how often it has made this move: a branch may go back and forth. The
    move that was announced last is the same one, seen again by somebody whose predecessor died before it wrote down
    what it had seen."""
    move = f"{ref}@{before[:12]}..{commit}"
    if len(move) > MOVE_LIMIT:
        move = hashlib.sha256(move.encode()).hexdigest()
    announced = Delivery.objects.filter(pipeline=pipeline, provider="poll", ref=ref).order_by("-id")
    with transaction.atomic():
        Pipeline.objects.select_for_update().get(pk=pipeline.pk)  # two sweepers may look at once, on two machines
        last = announced.values_list("delivery", flat=True).first() or ""
        if last == move or last.startswith(f"{move}~"):
            return False
        times = announced.filter(Q(delivery=move) | Q(delivery__startswith=f"{move}~")).count()
        push = runs.Push(ref=ref, commit=commit)
        _, created = runs.receive(pipeline, push, provider="poll", delivery=f"{move}~{times + 1}" if times else move)
        return created


def _note(pipeline: Pipeline, problem: str) -> None:
    """What the last look found, for those who wonder why nothing comes in. Only changes are written."""
    name = f"poll:{pipeline.slug}"
    known = Beat.objects.filter(name=name).values_list("data", flat=True).first() or {}
    if known.get("problem", "") != problem:
        now = datetime.now(UTC)
        Beat.objects.update_or_create(name=name, defaults={"at": now, "data": {"problem": problem}})


def list_heads(repository: str) -> dict[str, str]:
    """The commits of all branches and tags by full name, an annotated tag's as the commit that it points to.

    Raises PollError, or RefusedInputError for an address that is not safe to use.
    """
    mirror = Mirror(Path(settings.HOME), check_address(repository))
    argv = ["git", "ls-remote", "--heads", "--tags", "--", mirror.address]
    environment = {k: v for k, v in mirror.environment().items() if k != "GIT_DIR"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise PollError(f"{mirror.address} did not answer within {PATIENCE:g} s.") from None
    if done.returncode:
        raise PollError(f"git ls-remote failed: {last_words(done.stderr) or done.returncode}")
    heads: dict[str, str] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        commit, _, name = line.partition("\t")
        # `refs/tags/v1^{}` follows `refs/tags/v1` and names the commit itself.
        name = name.removesuffix("^{}")
        if _is_sane(name, commit):
            heads[name] = commit
    return heads


def _is_sane(ref: str, commit: str) -> bool:
    try:
        check_ref(ref)
        check_commit(commit)
    except RefusedInputError:
        return False
    return True


# --- schedules ------------------------------------------------------------------------------------


def schedule(now: datetime) -> int:
    """Announce every scheduled run that is due and was not announced yet; returns how many that were.

    Times are UTC. After a pause only the last minute of each schedule is made up for, if it is recent.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    accepted = Pipeline.objects.filter(accepted__isnull=False).values_list("pk", "accepted", "accepted__accepted_at")
    started = 0
    for pipeline, version, since in accepted:
        for expression in _schedules(version):
            due = _last_due(expression, minute)
            if since and due > since and minute - due <= CATCH_UP:
                started += _announce_schedule(pipeline, expression, due)
    return started


@lru_cache(maxsize=1024)
def _schedules(version: int) -> tuple[str, ...]:
    """A stored version never changes, so each is parsed once."""
    text = DefinitionVersion.objects.values_list("text", flat=True).get(pk=version)
    definition = parse(text).definition
    return definition.triggers.schedule if definition else ()


@lru_cache(maxsize=4096)
def _last_due(expression: str, minute: datetime) -> datetime:
    """The last minute up to `minute` that the expression names."""
    found: datetime = croniter(expression, minute + timedelta(seconds=1)).get_prev(datetime)
    return found.replace(second=0, microsecond=0)


# What this process knows to be in the database, so that it asks once for each schedule and minute.
_known: set[tuple[int, str, datetime]] = set()


def _announce_schedule(pipeline: int, expression: str, due: datetime) -> bool:
    key = (pipeline, expression, due)
    if key in _known:
        return False
    name = f"cron-{expression}-{due:%Y-%m-%dT%H:%MZ}"
    created = False
    if not Delivery.objects.filter(pipeline=pipeline, delivery=name).exists():
        row = Pipeline.objects.get(pk=pipeline)
        push = runs.Push(ref=f"refs/heads/{row.default_branch}", commit="", trigger="schedule")
        _, created = runs.receive(row, push, provider="cron", delivery=name)
    if len(_known) > 10_000:
        _known.clear()
    _known.add(key)
    return created
