"""The pipeline file as plain data: what `parse` returns and everything else reads. No Django, no YAML in
here.

Durations are seconds. Every name is as written in the file, except that a matrix stage stands here once for
each combination, named `stage[value,value]`, with `group` telling the name that the file gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class GateTeam:
    team: str
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Gate:
    """Who has to approve a stage before it runs: every team in `teams`, each with its own quorum."""

    teams: tuple[GateTeam, ...]
    self_approval: bool = False
    reason_required: bool = False
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """`limit` further attempts; the n-th waits backoff * factor**(n-1) seconds, at most `maximum`."""

    limit: int = 0
    backoff: float = 0.0
    factor: float = 2.0
    maximum: float = 3600.0
    on: frozenset[Literal["failed", "error"]] = frozenset({"error"})


@dataclass(frozen=True, slots=True)
class StageDef:
    """`depends` is the normalized expression over stage names ("" without needs), `needs` the names in it.

    Both use the names of the file: a name of a matrix stage stands for all its combinations.
    """

    name: str
    kind: str
    owner: str
    group: str = ""
    title: str = ""
    depends: str = ""
    needs: tuple[str, ...] = ()
    when: str = ""
    gate: Gate | None = None
    retry: Retry = Retry()
    timeout: float | None = None
    environment: str | None = None
    with_: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, str] = field(default_factory=dict)
    on_exit: bool = False


@dataclass(frozen=True, slots=True)
class Freeze:
    """A window in which nothing may change. Either `start` and `end` (ISO 8601 with offset), or `cron` (when
    it opens, in `timezone`) and `duration`."""

    reason: str
    start: str = ""
    end: str = ""
    cron: str = ""
    duration: float = 0.0
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class EnvironmentDef:
    name: str
    owner: str
    concurrency: Literal["queue", "newest"] = "queue"
    freeze: tuple[Freeze, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Globs; an empty tuple matches nothing for tags, and everything for paths. Without branches no branch matches, or
    any does where there are paths."""

    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    default: str = ""
    description: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """A whole pipeline file without problems. `digest` is the sha256 of its text, "sha256:" before it."""

    name: str
    digest: str
    stages: tuple[StageDef, ...]
    engine: Literal["local", "argo"] = "local"
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    environments: tuple[EnvironmentDef, ...] = ()
    triggers: Trigger = Trigger()

    def stage(self, name: str) -> StageDef | None:
        return next((stage for stage in self.stages if stage.name == name), None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file. `line` and `column` count from 1; `hint` is the nearest valid name or what
    to do."""

    line: int
    column: int
    message: str
    hint: str = ""
    code: str = ""
