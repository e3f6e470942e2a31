"""What a run in check mode says it would change, as the changes of a plan.

The same target and playbook give the same changes: no times, no temporary paths, and an order that does not
depend on which host answered first.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.executors.ansible import objects
from pipelines.executors.base import Change

LONGEST_DIFF = 64 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A change, and where it belongs in the plan: by task, then host, then place in the task's loop."""

    task: int
    host: str
    item: int
    change: Change


def ordered(found: Iterable[Found], prefixes: Iterable[str]) -> list[Change]:
    """The changes of a plan; paths below one of `prefixes`, folders of this machine, become relative."""
    longest_first = sorted(prefixes, key=len, reverse=True)
    in_order = sorted(found, key=lambda item: (item.task, item.host, item.item))
    return [_neutral(item.change, longest_first) for item in in_order]


def changes_of(task: int, host: str, title: str, result: Mapping[str, Any]) -> list[Found]:
    """The changes in one result of one task on one host."""
    results = result.get("results")
    if not results or "censored" in result:
        changes = _changes(f"{host}: {title}", result)
    else:
        changes = [
            change
            for item in results
            if item.get("changed") or "censored" in item
            for change in _changes(f"{host}: {title} ({_label(item)})", item)
        ]
    return [Found(task, host, number, change) for number, change in enumerate(changes)]


def _changes(title: str, result: Mapping[str, Any]) -> list[Change]:
    """One change, or one for each object of a cluster."""
    found = None if "censored" in result else objects.changes_of(title, result)
    if found is None:
        return [_change(title, result)]
    return [replace(change, diff=_bounded(change.diff)) for change in found]


def _label(item: Mapping[str, Any]) -> str:
    if "censored" in item:
        return "hidden"
    label = item.get("_ansible_item_label", item.get("item", ""))
    return label if isinstance(label, str) else json.dumps(label, sort_keys=True)


def _change(title: str, result: Mapping[str, Any]) -> Change:
    if "censored" in result:
        return Change(title, after="changed, hidden by no_log")
    if result.get("skipped"):
        return Change(title, after="would run; what it changes cannot be foreseen")
    parts = result.get("diff") or []
    parts = [part for part in (parts if isinstance(parts, list) else [parts]) if part]
    asked = (result.get("invocation") or {}).get("module_args") or {}
    path = str(result.get("dest") or asked.get("dest") or result.get("path") or asked.get("path") or "")
    before, after = _states(parts)
    return Change(title, before, after or "changed", "".join(_diff(part, path) for part in parts))


def _states(parts: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """The state before and after, where a module says no more than this ("absent" and "directory")."""
    for part in parts:
        before, after = part.get("before"), part.get("after")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed = sorted(key for key in after if before.get(key) != after[key])
            return (
                ", ".join(f"{key} {before[key]}" for key in changed if key in before),
                ", ".join(f"{key} {after[key]}" for key in changed),
            )
    return "", ""


def _diff(part: Mapping[str, Any], path: str) -> str:
    """One unified diff. Ansible's own headers name temporary files, so the target's path stands in both."""
    if "prepared" in part:
        return _bounded(str(part["prepared"]))
    if "before" not in part or "after" not in part:
        return "".join(f"{key}: {part[key]}\n" for key in sorted(part) if not key.endswith("_header"))
    before, after = _text(part["before"]), _text(part["after"])
    name = path or str(part.get("before_header") or "")
    if isinstance(part["after"], Mapping):
        name = str(part["after"].get("path") or name)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (now)", f"{name} (after)", lineterm=""
    )
    return _bounded("".join(f"{line}\n" for line in lines))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _bounded(text: str) -> str:
    """A long diff is cut, and named by its hash, so that a change in what was cut still changes the plan."""
    if len(text) <= LONGEST_DIFF:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[:LONGEST_DIFF]}\n... cut; the whole diff has {len(text)} characters, sha256 {digest}\n"


def _neutral(change: Change, prefixes: list[str]) -> Change:
    def shorten(text: str) -> str:
        for prefix in prefixes:
            text = text.replace(f"{prefix.rstrip('/')}/", "")
        return text

    return replace(
        change,
        title=shorten(change.title),
        before=shorten(change.before),
        after=shorten(change.after),
        diff=shorten(change.diff),
    )
