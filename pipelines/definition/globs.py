"""Globs over names with slashes (paths, branches, tags), as git and GitHub mean them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache

_ANY = "**"


def matches(name: str, glob: str) -> bool:
    """Whether the whole name fits: `*`, `?` and `[...]` stay within a folder, `**` spans any number of them, none too.
    Takes no longer than both are long, whatever the glob."""
    wanted = _parts(glob)
    # Which beginnings of `wanted` fit what has been read of the name.
    fits = _skipped({0}, wanted)
    for part in name.split("/"):
        kept = {at for at in fits if at < len(wanted) and wanted[at] is None}
        moved = {at + 1 for at in fits if at < len(wanted) and (one := wanted[at]) and one.fullmatch(part)}
        fits = _skipped(kept | moved, wanted)
    return len(wanted) in fits


def matches_any(name: str, globs: Sequence[str]) -> bool:
    return any(matches(name, glob) for glob in globs)


@lru_cache(maxsize=1024)
def _parts(glob: str) -> tuple[re.Pattern[str] | None, ...]:
    """One for each folder, and None for any number of them."""
    found: list[re.Pattern[str] | None] = []
    # A folder's name with a slash means all that is in it.
    for part in (f"{glob}{_ANY}" if glob.endswith("/") else glob).removeprefix("./").lstrip("/").split("/"):
        inner = part.strip("*")
        before, after = part.startswith(_ANY), part.endswith(_ANY)
        if part and not inner:
            found.append(None if before else _pattern(part))
            continue
        found += [None] if before else []
        found.append(_pattern(part))
        found += [None] if after else []
    return tuple(found)


def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))


def _skipped(fits: set[int], wanted: Sequence[re.Pattern[str] | None]) -> set[int]:
    """With what comes behind each "any number of folders", which may be none."""
    found = set(fits)
    for at, part in enumerate(wanted):
        if part is None and at in found:
            found.add(at + 1)
    return found
