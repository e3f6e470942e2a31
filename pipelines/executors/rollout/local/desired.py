"""desired.json: what shall run in one environment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors.rollout.local.place import Place, read_json, ring, write_json
from pipelines.executors.rollout.release import Release

# Seconds within which two writes may get the same time.
COARSE = 0.05


@dataclass(frozen=True, slots=True)
class DesiredState:
    """`sets`, `weights`: see `strategy.Desired`. `retire` maps a release to the time (seconds since 1970)
    from which its set counts as not desired. `rollout` is the key of the rollout at work, "" when none is;
    only it may write. `finished` is the key of the one before. `stable` is the release to go back to."""

    generation: int = 0
    rollout: str = ""
    finished: str = ""
    stable: str = ""
    releases: Mapping[str, Release] = field(default_factory=dict)
    sets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    weights: Mapping[str, int] | None = field(default_factory=dict)
    retire: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "rollout": self.rollout,
            "finished": self.finished,
            "stable": self.stable,
            "releases": {name: release.as_dict() for name, release in self.releases.items()},
            "sets": {name: dict(services) for name, services in self.sets.items()},
            "weights": None if self.weights is None else dict(self.weights),
            "retire": dict(self.retire),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DesiredState:
        releases = {name: Release.from_dict(release) for name, release in data["releases"].items()}
        return cls(**{**data, "releases": releases})

    def current_sets(self, now: float) -> dict[str, Mapping[str, int]]:
        """The sets that are desired at this time."""
        return {r: s for r, s in self.sets.items() if self.retire.get(r, now + 1) > now}


def read_desired(place: Place) -> DesiredState:
    data = read_json(place.desired)
    return DesiredState.from_dict(data) if data else DesiredState()


def write_desired(place: Place, state: DesiredState) -> None:
    """Call it under `place.locked()` only. Wakes the keeper."""
    write_json(place.desired, state.as_dict(), durable=True)
    ring(place.home)


def stamp(place: Place) -> object:
    """Changes when desired.json does. A file's time is coarse, so one that is just written is read once
    more."""
    try:
        status = place.desired.stat()
    except OSError:
        return None
    settled = time.time() - status.st_mtime > COARSE
    return (status.st_mtime_ns, status.st_ino, status.st_size, settled)
