"""What a build stage's `with` says, checked.

with:
  component: backend                   # the stage's name when it is left out
  dockerfile: docker/backend/Dockerfile
  context: .                           # a folder of the repository
  target: runtime
  args: {PYTHON_IMAGE: registry.example:5000/python@sha256:...}
  secrets: {npm-token: REFERENCE}      # by the id of RUN --mount=type=secret,id=...
  cache_from: [registry.example:5000/burger/backend:main]
  registries:                          # credentials for base images and caches
    registry.example:5000: {secrets: {username: REFERENCE, password: REFERENCE}}
  limits: {memory: 2g, cpus: 1.5}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipelines.definition import forms
from pipelines.executors.attempt import texts
from pipelines.executors.base import PlanError, StageSpec

_COMPONENT, _ARGUMENT = forms.written(forms.COMPONENT), forms.written(forms.ARGUMENT)
_SECRET, _TARGET = forms.written(forms.BUILD_ID), forms.written(forms.TARGET)
_IMAGE, _REGISTRY = forms.written(forms.IMAGE), forms.written(forms.PULLED_FROM)
_MEMORY = re.compile(r"([0-9]{1,6})([kmg])")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
# The engine takes these as orders to itself, of which one chooses the cache that a build may use.
_RESERVED = "BUILDKIT_"
SMALLEST_MEMORY = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """`secrets` maps ids to references; `registries` maps HOST[:PORT] to references of username and password.
    `memory` is in bytes and `cpus` in processors, both 0 for no limit."""

    component: str
    dockerfile: str
    context: str
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    registries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    memory: int = 0
    cpus: float = 0.0


def settings_of(spec: StageSpec) -> Settings:
    """Raises PlanError."""
    limits = texts(spec, "limits")
    if unknown := sorted(limits.keys() - {"memory", "cpus"}):
        raise PlanError(f"Stage {spec.stage}: `limits` has {', '.join(unknown)}; it may have memory and cpus.")
    return Settings(
        component=_component(spec),
        dockerfile=_path(spec, "dockerfile", "Dockerfile"),
        context=_path(spec, "context", "."),
        target=_matching(spec, "target", str(spec.with_.get("target") or ""), _TARGET),
        args=_args(spec),
        secrets={_matching(spec, "secrets", name, _SECRET): text for name, text in texts(spec, "secrets").items()},
        registries=_registries(spec),
        cache_from=_cache_from(spec),
        memory=_memory(spec, limits.get("memory", "")),
        cpus=_cpus(spec, limits.get("cpus", "")),
    )


def _component(spec: StageSpec) -> str:
    found = str(spec.with_.get("component") or spec.stage)
    if not _COMPONENT.fullmatch(found):
        raise PlanError(
            f"Stage {spec.stage}: the component {found!r} has to be small letters, digits and - between them; "
            "say `component: NAME`."
        )
    return found


def _path(spec: StageSpec, name: str, default: str) -> str:
    """A path of the repository, without a way out of it."""
    found = str(spec.with_.get(name) or default)
    path = PurePosixPath(found)
    if path.is_absolute() or ".." in path.parts or not found.isprintable() or "\\" in found:
        raise PlanError(f"Stage {spec.stage}: `{name}` has to be a path inside the repository, found {found!r}.")
    return str(path)


def _matching(spec: StageSpec, name: str, found: str, pattern: re.Pattern[str]) -> str:
    if found and not pattern.fullmatch(found):
        raise PlanError(f"Stage {spec.stage}: {found!r} cannot stand in `{name}`: expected {pattern.pattern}.")
    return found


def _args(spec: StageSpec) -> dict[str, str]:
    found = texts(spec, "args")
    for name in found:
        if not _ARGUMENT.fullmatch(name):
            raise PlanError(
                f"Stage {spec.stage}: {name!r} cannot be a build argument: letters, digits and _ are possible, and "
                f"names that begin with {_RESERVED} are kept for the engine."
            )
    return found


def _cache_from(spec: StageSpec) -> tuple[str, ...]:
    found = spec.with_.get("cache_from") or []
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise PlanError(f"Stage {spec.stage}: `cache_from` has to be a list of images, found {found!r}.")
    return tuple(_matching(spec, "cache_from", each, _IMAGE) for each in found)


def _registries(spec: StageSpec) -> dict[str, dict[str, str]]:
    found: Any = spec.with_.get("registries") or {}
    wanted = "{HOST: {secrets: {username: REFERENCE, password: REFERENCE}}}"
    if not isinstance(found, Mapping):
        raise PlanError(f"Stage {spec.stage}: `registries` has to be {wanted}, found {found!r}.")
    result = {}
    for host, value in found.items():
        secrets = value.get("secrets") if isinstance(value, Mapping) else None
        if not isinstance(secrets, Mapping) or set(secrets) != {"username", "password"}:
            raise PlanError(f"Stage {spec.stage}: `registries` has to be {wanted}, found {host}: {value!r}.")
        result[_matching(spec, "registries", str(host), _REGISTRY)] = {
            str(name): str(reference) for name, reference in secrets.items()
        }
    return result


def _memory(spec: StageSpec, text: str) -> int:
    if not text:
        return 0
    match = _MEMORY.fullmatch(text.lower())
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if size < SMALLEST_MEMORY:
        raise PlanError(f"Stage {spec.stage}: `limits.memory` is {text!r}; expected at least 32m, such as 512m or 2g.")
    return size


def _cpus(spec: StageSpec, text: str) -> float:
    if not text:
        return 0.0
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0.01 <= found <= 1024:
        raise PlanError(f"Stage {spec.stage}: `limits.cpus` is {text!r}; expected a number such as 0.5 or 2.")
    return found
