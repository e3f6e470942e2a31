"""What of a pipeline file's values is never shown: those that are named like a credential, and passwords in addresses.

A secret belongs into a reference; this is for those who wrote one into the file or gave it as a parameter all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

MASK = "***"
_IN_AN_ADDRESS = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
_SHORTEST = 4  # characters; what is shorter stands in ordinary text by chance
_ENDINGS = ("_PASSWORD", "_TOKEN", "_SECRET")


def is_credential(name: str) -> bool:
    """Whether a name says that its value must not be shown: it ends so, or is that word."""
    return f"_{name}".upper().replace("-", "_").endswith(_ENDINGS)


def credentials(variables: Mapping[str, str]) -> list[str]:
    """The parts of these values that must not be shown."""
    found = [value for name, value in variables.items() if is_credential(name)]
    return found + [password for value in variables.values() for password in _passwords(value)]


def concealed(value: Any, references: Collection[str] = ()) -> Any:
    """The value with what must not be shown in it as `***`, wherever in it that is repeated. What stands under the
    keys in `references` only names secrets, and is shown."""
    hidden = sorted({text for text in _found(value, references) if len(text) >= _SHORTEST}, key=len, reverse=True)
    return _without(value, hidden, references)


def _without(value: Any, hidden: Sequence[str], references: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: one if key in references else MASK if _hides(key, one) else _without(one, hidden, references)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without(one, hidden, references) for one in value]
    if isinstance(value, str):
        for text in hidden:
            value = value.replace(text, MASK)
    return value


def _hides(key: Any, value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_credential(str(key))


def _found(value: Any, references: Collection[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in references:
                yield from [one] if _hides(key, one) else _found(one, references)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _found(one, references)
    elif isinstance(value, str):
        yield from _passwords(value)


def _passwords(value: str) -> Iterator[str]:
    return (match[1] for match in _IN_AN_ADDRESS.finditer(value))
