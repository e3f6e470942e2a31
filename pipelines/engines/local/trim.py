"""Keeping the cost of history down: see what is there, ask `retention.plan`, delete what it says.

Runs are marked first, under their locks: from then on nobody can take one up again. Only then it is asked what is not
needed any more. Each step can be cut short, and is done again by the next who comes.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from pipelines import retention
from pipelines.executors.attempt import WorkFailedError
from pipelines.executors.base import Unattended
from pipelines.executors.store import Store
from pipelines.models import Beat, Event, Run
from pipelines.runs.advance import lock
from pipelines.states import RUN_ENDED

from . import holdings

log = logging.getLogger(__name__)

EVERY = timedelta(hours=6)
LOOK = 60.0  # seconds between looks whether it is time
CHUNK = 500  # rows in one transaction: others want to write too
SURELY_THINNED = timedelta(days=7)  # after which whoever was cut short has been made up for


class Busy(Exception):
    """Somebody else trims at this moment."""


def preview() -> retention.Plan:
    """What `trim` would do now."""
    return retention.plan(holdings.gather(timezone.now()))


def trim() -> retention.Plan:
    """Delete what nothing needs any more; returns what went and what stayed. Raises Busy."""
    with _alone():
        now = timezone.now()
        facts = holdings.gather(now, files=False)
        expired = retention.expired_runs(facts)
        marked = {run.name for run in facts.runs if run.key in expired and _mark(run.key, now)}
        _thin(now)
        gone = [item for item in retention.plan(facts).of("run") if item.name in marked]
        rest = retention.plan(holdings.gather(now))
        gone += [item for item in rest.remove if item.kind in _REMOVE and _REMOVE[item.kind](item.name, now)]
        gone += _forget(rest)
        _leftovers(now)
        return retention.Plan(tuple(gone), rest.keep)


@contextmanager
def _alone() -> Iterator[None]:
    folder = Path(settings.HOME) / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "trim.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("Somebody else trims at this moment; try again when they are done.") from None
        yield


# --- runs -----------------------------------------------------------------------------------------


def _mark(run: int, now: datetime) -> bool:
    """False where somebody took the run up again meanwhile."""
    with transaction.atomic():
        row = lock(run)
        keep = holdings.keep()
        if keep is None or row.state not in RUN_ENDED or row.ended_at is None or now - row.ended_at <= keep:
            return False
        Run.objects.filter(pk=run).update(trimmed_at=now)
        return True


def _thin(now: datetime) -> None:
    """Remove the log of what was marked, by this call or one that was cut short."""
    for run in Run.objects.filter(trimmed_at__gte=now - SURELY_THINNED).values_list("pk", flat=True):
        big = Event.objects.filter(run=run, kind__in=holdings.BIG).order_by()
        while keys := list(big.values_list("pk", flat=True)[:CHUNK]):
            Event.objects.filter(pk__in=keys).delete()


# --- files ----------------------------------------------------------------------------------------


def _store() -> Store:
    return Store(Path(settings.HOME))


def _before(now: datetime) -> float:
    return (now - retention.GRACE).timestamp()


def _remove_folder(name: str, now: datetime) -> bool:
    folder = Path(settings.HOME) / "work" / name
    if holdings.is_busy(folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _remove_mirror(name: str, now: datetime) -> bool:
    folder = Path(settings.HOME) / "mirrors" / name
    with folder.with_suffix(".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


# Asked once more what was used meanwhile: between the plan and this, anything may have begun.
_REMOVE: dict[str, Callable[[str, datetime], bool]] = {
    "folder": _remove_folder,
    "content": lambda name, now: _store().remove(name, older_than=_before(now)),
    "tree": lambda name, now: _store().remove_unpacked(name, older_than=_before(now)),
    "mirror": _remove_mirror,
}


def _forget(plan: retention.Plan) -> list[retention.Item]:
    """Let mirrors forget commits and branches; returns what they forgot."""
    done: list[retention.Item] = []
    for mirror in holdings.mirrors_in_use().values():
        name = mirror.folder.name
        mine = {kind: [i for i in plan.of(kind) if i.name.startswith(f"{name}/")] for kind in ("commit", "branch")}
        if not any(mine.values()):
            continue
        marks = {kind: [item.name.partition("/")[2] for item in items] for kind, items in mine.items()}
        try:
            with mirror.locked(Unattended()):
                mirror.forget(marks["commit"], marks["branch"])
        except WorkFailedError:
            log.exception("The mirror %s could not be trimmed", name)
        else:
            done += mine["commit"] + mine["branch"]
    return done


def _leftovers(now: datetime) -> None:
    """What was being written or removed when its process was killed."""
    store = _store()
    for path in (*store.temporary.glob("*"), *store.slugs.glob(".*")):
        with suppress(OSError):
            if path.lstat().st_mtime < _before(now):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


# --- once in a while ------------------------------------------------------------------------------


class Turns:
    """Trims every `EVERY`, on a thread of its own: the sweeper has other things to do meanwhile."""

    def __init__(self) -> None:
        self._look_at = 0.0

    def take(self, now: datetime) -> threading.Thread | None:
        """Begin if it is time; returns the thread. Cheap; call it as often as you like."""
        if time.monotonic() < self._look_at or not settings.KEEP_RUNS:
            return None
        self._look_at = time.monotonic() + LOOK
        beat, fresh = Beat.objects.get_or_create(name="trim", defaults={"at": now})
        if fresh or now - beat.at < EVERY or not Beat.objects.filter(name="trim", at=beat.at).update(at=now):
            return None
        thread = threading.Thread(target=_in_the_background, name="trim", daemon=True)
        thread.start()
        return thread


def _in_the_background() -> None:
    try:
        gone = trim().remove
        size = sum(item.size for item in gone)
        if gone:
            log.info("Trimmed %s things of %s bytes", len(gone), size)
    except Busy as busy:
        log.info("%s", busy)
    except Exception:
        log.exception("Trimming failed; it is tried again in %s", EVERY)
    finally:
        connection.close()
