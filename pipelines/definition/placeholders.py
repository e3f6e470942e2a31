"""Placeholders: `{{inputs.x}}` and `{{matrix.x}}`, filled in when the file is read, and `{{parameters.x}}`
and `{{run.x}}`, filled in when a run starts.

`{{"{{"}}` stands for two braces that are meant as they are. What is filled in is not looked through again, so
a parameter cannot smuggle in a placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.definition.model import StageDef

RUN_FIELDS = ("branch", "commit", "number", "ref")
PARAMETER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]*"
# Bounded, so that many braces that never close take no time.
PLACEHOLDER = re.compile(r"\{\{(\s{0,9}(?:\"\{\{\"|'\{\{')\s{0,9}|[^{}]{0,200})\}\}")
DOTTED = re.compile(rf"\s*([A-Za-z]+)\.({PARAMETER_NAME})\s*", re.ASCII)
BRACES = re.compile(r"\s*(\"\{\{\"|'\{\{')\s*")


class ResolveError(Exception):
    """A placeholder has no value; the message names it."""


def fill(text: str, value_of: Callable[[str, str], str]) -> str:
    """`text` with each placeholder replaced by `value_of(scope, name)`."""

    def one(match: re.Match[str]) -> str:
        if BRACES.fullmatch(match[1]):
            return "{{"
        dotted = DOTTED.fullmatch(match[1])
        return value_of(dotted[1], dotted[2]) if dotted else match[0]

    return PLACEHOLDER.sub(one, text)


def resolve(value: Any, parameters: Mapping[str, str], run: Mapping[str, Any]) -> Any:
    """`value` (text, or lists and mappings of it) with `parameters.*` and `run.*` filled in.

    `run` holds what RUN_FIELDS lists. Raises ResolveError for a placeholder that neither mapping has.
    """
    scopes: Mapping[str, Mapping[str, Any]] = {"parameters": parameters, "run": run}

    def value_of(scope: str, name: str) -> str:
        try:
            return str(scopes[scope][name])
        except KeyError:
            raise ResolveError(f"{{{{{scope}.{name}}}}} has no value in this run") from None

    return _filled(value, value_of)


def _filled(value: Any, value_of: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return fill(value, value_of) if "{{" in value else value
    if isinstance(value, Mapping):
        return {_filled(key, value_of): _filled(item, value_of) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, value_of) for item in value]
    return value


def resolve_stage(stage: StageDef, parameters: Mapping[str, str], run: Mapping[str, Any]) -> StageDef:
    """The stage with `with`, `environment` and `title` filled in. `when` keeps its placeholders: they are
    values to `evaluate_when`, and as text a parameter could change what the condition says."""
    return replace(
        stage,
        title=resolve(stage.title, parameters, run),
        environment=resolve(stage.environment, parameters, run),
        with_=resolve(dict(stage.with_), parameters, run),
    )
