"""Who owns which field, as the server's `managedFields` tell; pure.

A path is a tuple of steps as the server keeps them: ("f", name) a key, ("k", {...}) the item of a list with these
values, ("v", value) a member of a set, ("i", index) an item by its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.executors.kubernetes.names import is_own

Path = tuple[tuple[str, Any], ...]

# What Kubernetes itself, and what runs within it by our own wish, writes into objects of others.
CONTROLLERS = ("kube-controller-manager", "kube-scheduler", "kubelet", "cloud-controller-manager", "traefik")


class _Missing:
    def __repr__(self) -> str:
        return "(nothing)"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields. `when` is the server's text (RFC 3339) of its last change, "" if it says none."""

    manager: str
    operation: str
    when: str
    subresource: str
    paths: frozenset[str]
    leaves: tuple[Path, ...]

    @property
    def is_ours(self) -> bool:
        return is_own(self.manager)

    @property
    def is_controller(self) -> bool:
        return self.subresource == "status" or self.manager.startswith(CONTROLLERS)


def owners(item: Mapping[str, Any]) -> list[Owner]:
    """Everybody who owns fields of an object, the one who wrote last first."""
    entries = (item.get("metadata") or {}).get("managedFields") or ()
    found = [
        Owner(
            manager=entry.get("manager", ""),
            operation=entry.get("operation", ""),
            when=entry.get("time", ""),
            subresource=entry.get("subresource", ""),
            leaves=(leaves := tuple(_leaves(entry.get("fieldsV1") or {}))),
            paths=frozenset(shown(path) for path in leaves),
        )
        for entry in entries
    ]
    return sorted(found, key=lambda owner: owner.when, reverse=True)


def value_at(item: Any, path: Path) -> Any:
    """What an object holds at a path; MISSING where it holds nothing."""
    for kind, step in path:
        item = _inner(item, kind, step)
        if item is MISSING:
            break
    return item


def shown(path: Path) -> str:
    """As the server writes it: .spec.template.spec.containers[name="backend"].image"""
    return "".join(_shown(kind, step) for kind, step in path)


def _leaves(fields: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    inner = {name: value for name, value in fields.items() if name != "."}
    if not inner and path:
        yield path
    for name, value in inner.items():
        kind, _, text = name.partition(":")
        step = text if kind == "f" else json.loads(text)
        yield from _leaves(value, (*path, (kind, step)))


def _inner(item: Any, kind: str, step: Any) -> Any:
    if kind == "f":
        return item.get(step, MISSING) if isinstance(item, Mapping) else MISSING
    if not isinstance(item, list):
        return MISSING
    if kind == "k":
        return next((one for one in item if isinstance(one, Mapping) and step.items() <= one.items()), MISSING)
    if kind == "v":
        return step if step in item else MISSING
    return item[step] if step < len(item) else MISSING


def _shown(kind: str, step: Any) -> str:
    if kind == "f":
        return f".{step}"
    if kind == "k":
        return "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(step.items())) + "]"
    return f"[={json.dumps(step)}]" if kind == "v" else f"[{step}]"
