"""Other people's changes to what we own: shown, with who and when, and not fought.

What we last applied is applied once more as a dry run that takes everything back; where its result differs from what
is there, somebody changed something, and the object's `managedFields` say who.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.executors.kubernetes import ownership
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.names import MANAGER, RELEASE, Ref
from pipelines.executors.kubernetes.ownership import MISSING, Owner, Path
from pipelines.executors.kubernetes.render import is_without_values
from pipelines.executors.kubernetes.settle import PARALLEL, present, settled

_HIDDEN = "***"
_LONGEST = 200


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """`field` is a path as the server writes it, "" for the whole object; `wanted` and `found` are short texts, ""
    where there is nothing. `manager` is who did it as far as the server knows, "" if it does not; `when` is RFC
    3339. `added` is a field that we never said anything about."""

    ref: Ref
    place: str
    kind: Literal["changed", "removed", "added", "deleted"]
    field: str = ""
    wanted: str = ""
    found: str = ""
    manager: str = ""
    when: str = ""

    def __str__(self) -> str:
        who = f"{self.manager or 'somebody'}{f' at {self.when}' if self.when else ''}"
        what = f"{self.ref} in {self.place}"
        if self.kind == "deleted":
            return f"{what} is gone: deleted by somebody."
        if self.kind == "added":
            return f"{what}: {who} added {self.field}: {self.found}."
        if self.kind == "removed":
            return f"{what}: {who} removed {self.field}, which was {self.wanted}."
        return f"{what}: {who} changed {self.field} to {self.found}; we applied {self.wanted}."


def drift(client: Client, objects: Iterable[Mapping[str, Any]]) -> list[Drift]:
    """What differs from `objects`, which we applied last (Secrets may be without their values). Reads only.

    The release's name on objects does not count, nor the replicas of what is autoscaled, nor what a later step of
    our own set. Raises ClusterAway and Refused.
    """
    objects = list(objects)
    lives = present(client, objects)
    pairs = list(zip(settled(client, objects, lives), lives, strict=True))
    with ThreadPoolExecutor(PARALLEL) as pool:
        return sorted(
            found for several in pool.map(lambda pair: _of(client, pair[0], pair[1]), pairs) for found in several
        )


def of_conflict(client: Client, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> list[Drift]:
    """What of `live` would be taken from others if `wanted`, the result of a dry run that was forced, came true."""
    return [found for found in _changes(client, wanted, live) if found.kind == "changed" and found.manager]


def _of(client: Client, item: dict[str, Any], live: dict[str, Any] | None) -> list[Drift]:
    if live is None:
        return [Drift(Ref.of(item), client.place, "deleted")]
    if is_without_values(item):
        return []  # immutable, so that it can only be deleted
    result = client.apply(item, dry_run=True, force=True)
    return [*_changes(client, result, live), *_added(client, result, live)]


def _changes(client: Client, result: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Drift]:
    """What we own by `result` and is otherwise in `live`."""
    people = ownership.owners(live)
    for path in _our_paths(result):
        wanted, found = ownership.value_at(result, path), ownership.value_at(live, path)
        if wanted == found or path[-1] == ("f", RELEASE):
            continue
        who = _who(people, path, gone=found is MISSING)
        if who is None or not who.is_ours:
            yield _drift(client, live, path, wanted, found, who)


def _added(client: Client, result: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Drift]:
    mine = {ownership.shown(path) for path in _our_paths(result)}
    for owner in ownership.owners(live):
        if owner.is_ours or owner.is_controller or owner.subresource:
            continue
        for path in owner.leaves:
            found = ownership.value_at(live, path)
            if ownership.shown(path) not in mine and found is not MISSING:
                yield _drift(client, live, path, MISSING, found, owner)


def _our_paths(result: Mapping[str, Any]) -> list[Path]:
    entries = (owner for owner in ownership.owners(result) if owner.manager == MANAGER and owner.operation == "Apply")
    return [path for owner in entries for path in owner.leaves]


def _who(people: list[Owner], path: Path, *, gone: bool) -> Owner | None:
    """The one who owns the field now. Nobody owns what was removed: then the last who wrote, Kubernetes excepted."""
    for owner in people:
        # A part of it, or something that it is a part of, may be what is owned.
        if any(path[: len(one)] == one or one[: len(path)] == path for one in owner.leaves):
            return owner
    return next((owner for owner in people if not (owner.is_ours or owner.is_controller)), None) if gone else None


def _drift(client: Client, live: Mapping[str, Any], path: Path, wanted: Any, found: Any, who: Owner | None) -> Drift:
    kind: Literal["changed", "removed", "added"] = "changed"
    if wanted is MISSING:
        kind = "added"
    elif found is MISSING:
        kind = "removed"
    secret = live["kind"] == "Secret" and path[0] == ("f", "data")
    return Drift(
        ref=Ref.of(live),
        place=client.place,
        kind=kind,
        field=ownership.shown(path),
        wanted=_short(wanted, secret),
        found=_short(found, secret),
        manager=who.manager if who else "",
        when=who.when if who else "",
    )


def _short(value: Any, secret: bool) -> str:
    if value is MISSING:
        return ""
    text = _HIDDEN if secret else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
