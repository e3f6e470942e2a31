"""What a task of kubernetes.core would change, as the changes of a plan: one for each object.

What the server writes by itself is left out, or no plan would be the same twice; values of Secrets are, too, whether or
not the task has no_log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pipelines.executors.base import Change
from pipelines.executors.masks import MASK

_METADATA = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision")
_METHODS = frozenset({"apply", "create", "update", "replace", "delete", "patch"})

Object = Mapping[str, Any]


def changes_of(title: str, result: Object) -> list[Change] | None:
    """The changes that `result` speaks of; None for a result of another module."""
    items = list(_items(result))
    if not items:
        return None
    return [_change(title, item, result) for item in items if item.get("changed")]


def _items(result: Object) -> Iterator[Object]:
    """The result for each object: a task with several has a list of them."""
    inner = result.get("result")
    if isinstance(inner, Mapping) and isinstance(inner.get("results"), list):
        for item in inner["results"]:
            yield from _items(item)
    elif isinstance(inner, Mapping) and result.get("method") in _METHODS:
        yield result


def _change(title: str, item: Object, task: Object) -> Change:
    found: Object = item["result"]
    asked = (task.get("invocation") or {}).get("module_args") or {}
    kind = str(asked.get("kind") or found.get("kind") or "object") if item["method"] == "delete" else found.get("kind")
    name = (found.get("metadata") or {}).get("name") or asked.get("name") or ""
    diff: Any = item.get("diff") or {}
    before, after = (diff.get(side) if isinstance(diff, Mapping) else None for side in ("before", "after"))
    if item["method"] == "create" and not after:
        after = found
    deed = {"create": "create", "delete": "delete"}.get(item["method"], "change" if before else "create")
    secret = kind == "Secret"
    lines = difflib.unified_diff(
        _text(before or {}, secret),
        _text(after or {}, secret),
        f"{kind}/{name} (now)",
        f"{kind}/{name} (after)",
        "",
        "",
        3,
        "",
    )
    return Change(f"{title} ({kind}/{name})", after=deed, diff="".join(f"{line}\n" for line in lines))


def _text(item: Object, secret: bool) -> list[str]:
    kept = _neutral(item, secret)
    return yaml.safe_dump(kept, allow_unicode=True, width=120).splitlines() if kept else []


def _neutral(item: Object, secret: bool) -> dict[str, Any]:
    kept = {key: value for key, value in item.items() if key != "status"}
    metadata = {key: value for key, value in (kept.get("metadata") or {}).items() if key not in _METADATA}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {key: value for key, value in annotations.items() if key not in _ANNOTATIONS}
    kept["metadata"] = {key: value for key, value in metadata.items() if value != {}}
    for key in ("data", "stringData") if secret else ():
        if isinstance(kept.get(key), Mapping):
            kept[key] = dict.fromkeys(kept[key], MASK)
    return {key: value for key, value in kept.items() if value not in ({}, None)}
