"""What an installation holds: the facts that `retention.plan` decides about. Reads only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.db.models import Sum, TextField
from django.db.models.functions import Cast, Length

from pipelines import retention
from pipelines.executors import process
from pipelines.executors.mirror import Mirror
from pipelines.executors.rollout.progress import driven
from pipelines.executors.source import RefusedInputError, check_address
from pipelines.executors.store import Store
from pipelines.models import Attempt, Delivery, Event, Pipeline, Run, Stage
from pipelines.states import RUN_ENDED

BIG = ("log", "progress")  # the kinds of events that go; what happened and who decided it stays
CHUNK = 500
Key = TypeVar("Key", int, str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The files that name what an environment runs, is about to run, or can be gone back to.
_NAMED_IN = ("desired.json", "observed.json", "replicas.json", "releases/*.json")


def keep() -> timedelta | None:
    """For how long a run is kept after its end; None: for ever."""
    return timedelta(days=settings.KEEP_RUNS) if settings.KEEP_RUNS else None


def gather(now: datetime, *, files: bool = True) -> retention.Facts:
    """All facts, or only those about runs. Raises OSError where something cannot be read: then nothing may go."""
    runs = _runs(now)
    if not files:
        return retention.Facts(now=now, keep=keep(), runs=runs)
    home = Path(settings.HOME)
    store = Store(home)
    return retention.Facts(
        now=now,
        keep=keep(),
        runs=runs,
        folders=_folders(home / "work"),
        contents=[_content(path) for path in store.root.glob("??/*")],
        trees=[_content(path) for path in store.slugs.glob("[0-9a-f]*")],
        mirrors=_mirrors(home / "mirrors"),
        live=_live(home / "environments"),
        fetching=frozenset(Delivery.objects.filter(open=True).values_list("commit", flat=True)),
    )


# --- rows -----------------------------------------------------------------------------------------


def _runs(now: datetime) -> list[retention.RunFact]:
    holds = _holds()
    rows = Run.objects.filter(trimmed_at=None).order_by("pk")
    found = [
        retention.RunFact(
            key=key, name=f"{slug}/{number}", pipeline=slug, number=number, commit=commit,
            ended_at=ended_at if state in RUN_ENDED else None, holds=frozenset(holds.get(key, ())),
        )
        for key, slug, number, commit, state, ended_at in rows.values_list(
            "pk", "pipeline__slug", "number", "commit", "state", "ended_at"
        )
    ]  # fmt: skip
    expired = retention.expired_runs(retention.Facts(now=now, keep=keep(), runs=found))
    sizes = _log_sizes(list(expired))
    return [_sized(run, sizes[run.key]) if run.key in sizes else run for run in found]


def _sized(run: retention.RunFact, size: int) -> retention.RunFact:
    return retention.RunFact(run.key, run.name, run.pipeline, run.number, run.commit, run.ended_at, run.holds, size)


def _holds() -> dict[int, set[str]]:
    """The digests that runs have made, by run; their stages name what came from others, too."""
    found: dict[int, set[str]] = {}
    rows = Stage.objects.filter(run__trimmed_at=None).exclude(artifacts=[]).order_by()
    for run, artifacts in rows.values_list("run", "artifacts").iterator(chunk_size=CHUNK):
        found.setdefault(run, set()).update(_DIGEST.findall(json.dumps(artifacts)))
    return found


def _log_sizes(runs: list[int]) -> dict[int, int]:
    """Characters of what would go of these runs' events."""
    sizes: dict[int, int] = {}
    for chunk in _chunks(runs):
        events = Event.objects.filter(run__in=chunk, kind__in=BIG).order_by()
        rows = events.values("run").annotate(size=Sum(Length(Cast("data", TextField()))))
        sizes |= {row["run"]: row["size"] or 0 for row in rows}
    return sizes


def _chunks(keys: list[Key]) -> Iterator[list[Key]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


# --- files ----------------------------------------------------------------------------------------


def _folders(work: Path) -> list[retention.Folder]:
    paths = {path.name: path for path in work.glob("*") if path.is_dir()}
    known: dict[str, tuple[bool, str, datetime | None]] = {}
    for chunk in _chunks(list(paths)):
        rows = Attempt.objects.filter(key__in=chunk).values_list(
            "key", "open", "stage__run__pipeline__slug", "stage__run__number", "stage__run__state",
            "stage__run__ended_at",
        )  # fmt: skip
        for key, is_open, slug, number, state, ended_at in rows:
            known[key] = (is_open, f"{slug}/{number}", ended_at if state in RUN_ENDED else None)
    found = []
    for name, path in paths.items():
        is_open, run, ended_at = known.get(name, (False, "", None))
        found.append(
            retention.Folder(
                name, _changed(path), _size(path), run=run, ended_at=ended_at, open=is_open, busy=is_busy(path)
            )
        )
    return found


def is_busy(folder: Path) -> bool:
    """Whether something still runs in the folder of an attempt."""
    return driven(folder) or any(process.probe(each).state == "running" for each in folder.glob("process*"))


def _content(path: Path) -> retention.Content:
    return retention.Content(f"sha256:{path.name}", _changed(path), _size(path))


def _live(environments: Path) -> dict[str, str]:
    """Every digest that an environment's files name, and the environment."""
    found: dict[str, str] = {}
    for folder in sorted(environments.glob("*")):
        for pattern in _NAMED_IN:
            for path in folder.glob(pattern):
                with suppress(FileNotFoundError):  # replaced by a newer one, or forgotten, at this moment
                    found |= dict.fromkeys(_DIGEST.findall(path.read_text()), folder.name)
    return found


def mirrors_in_use() -> dict[str, Mirror]:
    """The mirrors that pipelines fetch from, by pipeline, one pipeline for each."""
    found: dict[Path, tuple[str, Mirror]] = {}
    for slug, repository in Pipeline.objects.values_list("slug", "repository"):
        with suppress(RefusedInputError):
            mirror = Mirror(Path(settings.HOME), check_address(repository))
            if mirror.folder.is_dir():
                found.setdefault(mirror.folder, (slug, mirror))
    return dict(found.values())


def _mirrors(folder: Path) -> list[retention.MirrorFact]:
    used = {mirror.folder.name: slug for slug, mirror in mirrors_in_use().items()}
    return [
        retention.MirrorFact(
            name=path.name,
            changed=_changed(path),
            size=_size(path),
            pipeline=used.get(path.name, ""),
            commits=_marks(path / "refs" / "burger"),
            branches=_marks(path / "refs" / "burger-refs"),
        )
        for path in folder.glob("*")
        if path.is_dir()
    ]


def _marks(folder: Path) -> dict[str, datetime]:
    return {path.name: _changed(path) for path in folder.glob("*") if path.suffix != ".lock"}


def _changed(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except FileNotFoundError:  # it has just gone: whatever became of it is not ours
        return datetime.max.replace(tzinfo=UTC)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not path.is_dir():
        with suppress(FileNotFoundError):
            return path.lstat().st_size
        return 0
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).lstat().st_size
    return total
