"""What this machine has of the records, for when the cluster that holds them is away and others are not: enough to go
back, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.executors.kubernetes.render import without_values
from pipelines.executors.rollout.kubernetes.records import Kept
from pipelines.executors.rollout.local.place import read_json, write_json
from pipelines.executors.rollout.progress import Progress, progress_data, progress_from
from pipelines.executors.rollout.release import Release


@dataclass(frozen=True, slots=True)
class Copies:
    """In the folder of one attempt. Values of secrets are in no file."""

    folder: Path

    def write_progress(self, progress: Progress) -> None:
        write_json(self.folder / "copy-progress.json", progress_data(progress), durable=True)

    def progress(self) -> Progress | None:
        data = read_json(self.folder / "copy-progress.json")
        return progress_from(data) if data else None

    def write_releases(self, new: Kept, stable: Kept | None) -> None:
        write_json(self.folder / "copy-releases.json", {"new": _data(new), "stable": _data(stable)}, durable=True)

    def releases(self) -> tuple[Kept | None, Kept | None]:
        """(new, stable)."""
        data = read_json(self.folder / "copy-releases.json") or {}
        return _kept(data.get("new")), _kept(data.get("stable"))


def _data(kept: Kept | None) -> dict[str, Any] | None:
    if kept is None:
        return None
    objects = {place: without_values(items) for place, items in kept.objects.items()}
    return json.loads(json.dumps({"release": kept.release.as_dict(), "objects": objects}))


def _kept(data: dict[str, Any] | None) -> Kept | None:
    return Kept(Release.from_dict(data["release"]), data["objects"]) if data else None
