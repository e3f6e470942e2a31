"""Which service accounts a Workflow, or a part of one, would run something with. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

# What stands for an account that nobody can know before it runs.
UNKNOWN = "?"
KEYS = ("serviceAccountName", "serviceAccount")
PATCH = "podSpecPatch"
_PARAMETER = re.compile(r"\{\{\s*workflow\.parameters\.([^}\s]+)\s*\}\}")


def accounts_in(
    value: Any, parameters: Mapping[str, str] | None = None, *, without: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Every account that is named, with the key that names it; UNKNOWN where a patch of pods may name one unseen.

    `parameters` are the Workflow's own, as far as their values are known. `without` are keys of `value` itself that are
    looked at elsewhere."""
    stack = [{key: item for key, item in value.items() if key not in without} if isinstance(value, dict) else value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack += one
        elif isinstance(one, dict):
            for name, item in one.items():
                if name in KEYS and isinstance(item, str):
                    yield name, item
                elif name == PATCH and isinstance(item, str):
                    yield from ((PATCH, account) for account in _patched(item, parameters or {}))
                else:
                    stack.append(item)


def _patched(patch: str, parameters: Mapping[str, str]) -> list[str]:
    """The accounts that a patch of pods sets. What is filled in later can end a text and begin a key."""
    text = _PARAMETER.sub(lambda found: parameters.get(found[1], found[0]), patch)
    if "{{" in text:
        return [UNKNOWN]
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return [UNKNOWN]
    if found is None:
        return []
    # The controller is not particular about the case of its keys.
    wanted = {key.casefold() for key in KEYS}
    if not isinstance(found, dict):
        return [UNKNOWN]
    return [str(value) for key, value in found.items() if str(key).casefold() in wanted]


def parameters_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Those of a Workflow's own parameters whose values stand in it."""
    given = (spec.get("arguments") or {}).get("parameters") or ()
    return {str(one["name"]): str(one["value"]) for one in given if "name" in one and "value" in one}
