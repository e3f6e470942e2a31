"""What a rollout remembers of itself, so that another worker can go on with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.executors.base import Outcome
from pipelines.executors.rollout.local.place import read_json, write_json
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.strategy import Position


@dataclass(slots=True)
class Progress:
    """`old` maps the services of the stable release to their replicas at the beginning. `heard` counts the
    commands that were obeyed, `resumes` the times that a person let it go on. `prepared` tells whether what comes
    before the first replica is done. `verdicts` are those of its measurements, each with its step. `outcome`
    ends it, unless its state is `paused`."""

    release: Release
    stable: str | None
    old: Mapping[str, int]
    position: Position = field(default_factory=Position)
    heard: int = 0
    resumes: int = 0
    canceled: bool = False
    prepared: bool = False
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def paused(self) -> bool:
        return self.outcome is not None and self.outcome.state == "paused"

    @property
    def over(self) -> bool:
        return self.outcome is not None and self.outcome.state != "paused"


def progress_file(folder: Path) -> Path:
    return folder / "rollout.json"


def read_progress(folder: Path) -> Progress | None:
    data = read_json(progress_file(folder))
    return None if data is None else progress_from(data)


def progress_from(data: dict[str, Any]) -> Progress:
    """The Progress of what `progress_data` made of it."""
    data["release"] = Release.from_dict(data["release"])
    data["position"] = Position(**data["position"])
    data["outcome"] = Outcome(**data["outcome"]) if data["outcome"] else None
    return Progress(**data)


def write_progress(folder: Path, progress: Progress) -> None:
    write_json(progress_file(folder), progress_data(progress), durable=True)


def progress_data(progress: Progress) -> dict[str, Any]:
    """As JSON can hold it."""
    return {
        **asdict(progress),
        "release": progress.release.as_dict(),
        "outcome": asdict(progress.outcome) if progress.outcome else None,
    }


def cancel_file(folder: Path) -> Path:
    return folder / "rollout.cancel"


def away_file(folder: Path) -> Path:
    """Its time is since when the target does not answer; there is none while it does."""
    return folder / "rollout.away"


def since_when_away(folder: Path, at_least: float | None = None) -> float:
    """Since when the target does not answer, in seconds since 1970; from `at_least`, or now, if that was not known."""
    file = away_file(folder)
    if not file.exists():
        file.touch()
        if at_least is not None:
            os.utime(file, (at_least, at_least))
    return file.stat().st_mtime


@contextlib.contextmanager
def sole_driver(folder: Path) -> Iterator[bool]:
    """True for the one process that drives this rollout; the kernel ends the claim of who dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rollout.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def driven(folder: Path) -> bool:
    """Whether some process drives it now."""
    if not (folder / "rollout.lock").exists():
        return False
    with sole_driver(folder) as alone:
        return not alone
