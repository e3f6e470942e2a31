"""Merging an environment's overlay into a manifest, as Kubernetes itself merges: maps by key, lists by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What tells the items of a list apart; every other list is replaced as a whole.
MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port"),
    "imagePullSecrets": ("name",),
    "backendRefs": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
}
DELETE = "$patch"


def merge(base: Any, over: Any, name: str = "") -> Any:
    """`over` laid upon `base`. A null deletes a key; `$patch: delete` an item of a list."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        kept = {key: value for key, value in base.items() if key not in over}
        merged = {key: merge(base.get(key), value, key) for key, value in over.items() if value is not None}
        # In the order of the base, so that a merged file reads as the base does.
        return {key: (kept | merged)[key] for key in [*base, *over] if key in kept or key in merged}
    if isinstance(base, list) and isinstance(over, list) and name in MERGE_KEYS:
        return _merge_lists(base, over, MERGE_KEYS[name])
    return _without_marks(over)


def deletes(over: Any) -> bool:
    """Whether an overlay's object or item says that its counterpart goes."""
    return isinstance(over, Mapping) and over.get(DELETE) == "delete"


def _merge_lists(base: list[Any], over: list[Any], keys: tuple[str, ...]) -> list[Any]:
    merged = list(base)
    for item in over:
        place = next((index for index, one in enumerate(merged) if _same(one, item, keys)), None)
        if deletes(item):
            if place is not None:
                del merged[place]
        elif place is None:
            merged.append(_without_marks(item))
        else:
            merged[place] = merge(merged[place], item)
    return merged


def _same(one: Any, other: Any, keys: tuple[str, ...]) -> bool:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return False
    return any(key in one and one[key] == other.get(key) for key in keys)


def _without_marks(value: Any) -> Any:
    """What an overlay adds, without the nulls and marks that only mean something against a base."""
    if isinstance(value, Mapping):
        return {key: _without_marks(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_marks(inner) for inner in value if not deletes(inner)]
    return value
