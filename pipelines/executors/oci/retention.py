"""What may be deleted in a registry, and what a release still needs. Pure.

Only images that this portal published are ever deleted, and only those that nobody gave a name of his own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# As `publish.push.tag_of` writes them.
_OWN_TAG = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Held:
    """An image in a registry. `blobs` maps the digests of its parts to bytes; `published` is when this portal last
    published it, None if it never did."""

    repository: str
    digest: str
    tags: tuple[str, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    published: datetime | None = None

    @property
    def name(self) -> str:
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Somebody needs an image: `name` is REPOSITORY@DIGEST, `reason` says who, in words."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    image: Held
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """`missing` are needs for images that the registry has not. `frees` is the most bytes that the registry's own
    garbage collection can win."""

    registry: str
    delete: tuple[Held, ...]
    keep: tuple[Kept, ...]
    missing: tuple[Need, ...]
    frees: int

    @property
    def digest(self) -> str:
        """Of what would be deleted: "sha256:" and 64 hex digits."""
        content = [self.registry, *([image.name, *image.tags] for image in self.delete)]
        return "sha256:" + hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "digest": self.digest,
            "frees": self.frees,
            "delete": [{"name": image.name, "tags": list(image.tags)} for image in self.delete],
            "keep": [
                {"name": kept.image.name, "tags": list(kept.image.tags), "reasons": list(kept.reasons)}
                for kept in self.keep
            ],
            "missing": [{"name": need.name, "reason": need.reason} for need in self.missing],
        }


def decide(registry: str, held: Iterable[Held], needs: Sequence[Need], *, since: datetime) -> RetentionPlan:
    """Delete what this portal published before `since`, which nothing in `needs` names; keep all else."""
    wanted: dict[str, list[str]] = {}
    for need in needs:
        wanted.setdefault(need.name, []).append(need.reason)
    images = sorted(held, key=lambda image: image.name)
    kept: list[Kept] = []
    deleted: list[Held] = []
    for image in images:
        if reasons := _reasons(image, wanted.get(image.name, []), since):
            kept.append(Kept(image, tuple(reasons)))
        else:
            deleted.append(image)
    there = {image.name for image in images}
    missing = tuple(sorted({need for need in needs if need.name not in there}))
    return RetentionPlan(registry, tuple(deleted), tuple(kept), missing, _frees(deleted, kept))


def _reasons(image: Held, needed: Iterable[str], since: datetime) -> list[str]:
    """Why an image stays; empty if it may go."""
    found = sorted(set(needed))
    if image.published is None:
        found.append("this portal did not publish it")
    elif image.published >= since:
        found.append(f"published {image.published:%Y-%m-%d}")
    if others := [tag for tag in image.tags if not _OWN_TAG.fullmatch(tag)]:
        found.append(f"somebody named it {', '.join(others)}")
    return found


def _frees(deleted: Iterable[Held], kept: Iterable[Kept]) -> int:
    staying = {blob for each in kept for blob in each.image.blobs}
    going = {blob: size for image in deleted for blob, size in image.blobs.items() if blob not in staying}
    return sum(going.values())
