"""A plan as people read it, and what is different in it since they read it last.

However much a plan changes, its page stays small: differences are folded, long ones cut, and the whole is a page of its
own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core import signing

from portal import changes as reading
from portal.changes import Change, ObjectChange, Words

_SALT = "portal.plan-as-seen"
_SHOWN = 120  # characters of a value that is only compared
DIFF_LINES = 300  # of one difference
PLAN_LINES = 4000  # of all differences of a plan
OPEN_LINES = 60  # of all differences, up to which they need not be unfolded
OBJECTS = 200  # of a cluster, and other changes


@dataclass(frozen=True, slots=True)
class Difference:
    title: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a difference: where (nothing if there is only one place), how many lines it has in all, and
    how many of them are left out."""

    places: str
    text: str
    lines: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Row:
    """`where` is "" for an object to which the same happens in all places."""

    change: ObjectChange
    where: str
    excerpts: list[Excerpt]


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rows: list[Row]

    @property
    def is_told(self) -> bool:
        """Whether there is something to read in it before a difference is unfolded."""
        return any(row.change.facts or row.change.verb == "delete" for row in self.rows)


@dataclass(slots=True)
class Shown:
    """What a plan changes, as much of it as a page can hold. `left_out` counts changes that are not on it at all."""

    words: Words
    plain: list[tuple[Change, Excerpt | None]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    is_open: bool = False
    left_out: int = 0

    @property
    def count(self) -> int:
        return len(self.words.plain) + self.words.objects

    @property
    def is_cut(self) -> bool:
        excerpts = [excerpt for _, excerpt in self.plain if excerpt]
        excerpts += [excerpt for group in self.groups for row in group.rows for excerpt in row.excerpts]
        return bool(self.left_out or any(excerpt.left_out for excerpt in excerpts))


def shown(plan: Mapping[str, Any] | None) -> Shown | None:
    """None for a plan without changes."""
    if not plan or not plan.get("changes"):
        return None
    words = reading.read(plan["changes"])
    left = PLAN_LINES

    def excerpt(places: str, diff: str) -> Excerpt:
        nonlocal left
        lines = diff.splitlines()
        kept = lines[: max(0, min(DIFF_LINES, left))]
        left -= len(kept)
        return Excerpt(places, "\n".join(kept), len(lines), len(lines) - len(kept))

    found = Shown(words)
    found.is_open = sum(change["diff"].count("\n") for change in plan["changes"]) <= OPEN_LINES
    found.plain = [
        (change, excerpt("", change["diff"]) if change["diff"] else None) for change in words.plain[:OBJECTS]
    ]
    room = OBJECTS
    for name, objects in words.groups:
        rows = []
        for one in objects[:room]:
            several = len(one.diffs) > 1
            excerpts = [excerpt(", ".join(places) if several else "", diff) for places, diff in one.diffs if diff]
            rows.append(Row(one, words.where(one), excerpts))
        room -= len(rows)
        if rows:
            found.groups.append(Group(name, rows))
    every = len(words.plain) + sum(len(objects) for _, objects in words.groups)
    found.left_out = every - len(found.plain) - sum(len(group.rows) for group in found.groups)
    return found


def whole(plan: Mapping[str, Any]) -> Iterator[str]:
    """Everything that a plan changes, as text."""
    yield f"{plan['summary']}\n"
    for name in ("commit", "environment"):
        if plan.get(name):
            yield f"{name} {plan[name]}\n"
    for name, digest in (plan.get("artifacts") or {}).items():
        yield f"artifact {name} {digest}\n"
    for name, value in (plan.get("parameters") or {}).items():
        yield f"parameter {name} {value}\n"
    for change in plan.get("changes") or ():
        values = f": {change['before'] or 'nothing'} → {change['after'] or 'nothing'}"
        yield f"\n{change['title']}{values if change['before'] or change['after'] else ''}\n{change['diff']}"


def seen(plan: Mapping[str, Any] | None) -> str:
    """What a form carries of the plan above it, so that a newer plan can be compared with it."""
    return signing.dumps(_outline(plan or {}), salt=_SALT, compress=True)


def differences(token: str, plan: Mapping[str, Any] | None) -> list[Difference]:
    """What is different in `plan` compared with the one that `token` was made of; nothing for a bad token."""
    try:
        old: dict[str, str] = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        return []
    new = _outline(plan or {})
    return [
        Difference(title, _shown(old.get(title, "")), _shown(new.get(title, "")))
        for title in dict.fromkeys([*old, *new])
        if old.get(title, "") != new.get(title, "")
    ]


def _outline(plan: Mapping[str, Any]) -> dict[str, str]:
    """Every fact of a plan under its title. A diff stands for itself by its size and a hash."""
    facts = {key: str(plan.get(key) or "") for key in ("summary", "commit", "environment")}
    facts |= {f"artifact {name}": digest for name, digest in (plan.get("artifacts") or {}).items()}
    facts |= {f"parameter {name}": value for name, value in (plan.get("parameters") or {}).items()}
    for change in plan.get("changes") or ():
        facts[change["title"]] = " → ".join(filter(None, (change["before"], change["after"], _diff(change["diff"]))))
    facts |= {f"detail {name}": str(value) for name, value in (plan.get("details") or {}).items()}
    return {title: value[: 4 * _SHOWN] for title, value in facts.items()}


def _diff(text: str) -> str:
    if not text:
        return ""
    return f"{text.count(chr(10))} lines of difference ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
