"""What an environment holds, place by place: replicas that are ready and wanted, and what keeps the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TROUBLES = 6  # sentences about replicas of one place


@dataclass(frozen=True, slots=True)
class Line:
    """One service of one release. `release` is "" where its replicas belong to none: they are only replaced when
    something about them changes. `is_new` tells what is being rolled out from what was there."""

    service: str
    release: str
    is_new: bool
    ready: int
    wanted: int
    digest: str

    @property
    def is_ready(self) -> bool:
        return self.ready >= self.wanted


@dataclass(slots=True)
class Place:
    """`name` is CLUSTER/NAMESPACE, "" for this machine; `away` says why its cluster does not answer, "" if it does."""

    name: str
    away: str = ""
    lines: list[Line] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def cluster(self) -> str:
        return self.name.partition("/")[0]

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[2]

    @property
    def ready(self) -> int:
        return sum(line.ready for line in self.lines)

    @property
    def wanted(self) -> int:
        return sum(line.wanted for line in self.lines)

    @property
    def is_ready(self) -> bool:
        return all(line.is_ready for line in self.lines)

    @property
    def more(self) -> int:
        return max(0, len(self.troubles) - TROUBLES)

    @property
    def told(self) -> list[str]:
        return self.troubles[:TROUBLES]


def of(status: Mapping[str, Any]) -> list[Place]:
    """The places of a status of `engines.environments`, in its order; this machine is one without a name."""
    away = status.get("away") or {}
    places = {name: Place(name, away.get(name, "")) for name in status.get("places") or [""]}
    for release, services in status["sets"].items():
        for key, facts in services.items():
            name, service = _split(key, places)
            is_new = bool(release and status["release"] and release != status["release"])
            line = Line(service, release, is_new, facts["ready"], facts["wanted"], facts.get("digest", ""))
            places[name].lines.append(line)
            places[name].troubles += [one["error"] for one in facts.get("replicas") or () if one.get("error")]
    for place in places.values():
        place.lines.sort(key=lambda line: (line.service, line.is_new))
    return list(places.values())


def _split(key: str, places: Mapping[str, Place]) -> tuple[str, str]:
    """(place, service): a service is called after its place where there are several."""
    name, _, service = key.rpartition("/")
    return (name, service) if name in places else (next(iter(places)), key)
