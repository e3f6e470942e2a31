"""`${...}` in manifests: a small fixed set, so that a file means the same to whoever reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# `$${` is a literal `${`. A placeholder may hold others, one level deep.
_FOUND = re.compile(r"\$(\$\{)|\$\{((?:\$\{[^{}]*\}|[^{}])*)\}?")
_NAME = re.compile(
    r"namespace|environment|host|collector|release|commit|parameters\.[A-Za-z_][A-Za-z0-9_-]*|secret:[A-Za-z0-9:._-]+"
)
# Whoever starts a run gives its parameters, and shall not choose among secrets with them.
_WITHIN = re.compile(r"\$\{(?:environment|namespace)\}")
SECRET = "secret:"  # noqa: S105 - the beginning of a reference
KNOWN = (
    "${namespace}, ${environment}, ${host}, ${collector}, ${release}, ${commit}, ${parameters.NAME} and, in a Secret, "
    "${secret:REFERENCE}, whose reference may hold ${environment} and ${namespace}"
)


def names(text: str) -> Iterator[str]:
    """What stands between the braces, in order; one without its closing brace keeps the opening one."""
    found = (match for match in _FOUND.finditer(text) if match[1] is None)
    return (match[2] if match[0].endswith("}") else match[0].removeprefix("$") for match in found)


def is_known(name: str) -> bool:
    return _NAME.fullmatch(_WITHIN.sub("x", name) if name.startswith(SECRET) else name) is not None


def fill(value: Any, answer: Callable[[str], str]) -> Any:
    """A copy of a value of a manifest with the placeholders in its texts replaced by what `answer` says."""
    if isinstance(value, str):
        return _FOUND.sub(lambda match: "${" if match[1] else answer(fill(match[2], answer)), value)
    if isinstance(value, Mapping):
        return {key: fill(inner, answer) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, answer) for inner in value]
    return value
