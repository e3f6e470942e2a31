"""The pipeline file: text in, a `Definition` or all of its problems out."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pipelines.definition.artifacts import check_artifacts, check_workspaces
from pipelines.definition.containers import ListOf
from pipelines.definition.graph import Entry, check_graph
from pipelines.definition.kinds import KINDS, Kind
from pipelines.definition.loader import Node, load
from pipelines.definition.model import Definition, Problem, StageDef
from pipelines.definition.placeholders import RUN_FIELDS
from pipelines.definition.report import Report
from pipelines.definition.schema import FILE, MAX_STAGES
from pipelines.definition.settings import read_environments, read_parameters, read_triggers
from pipelines.definition.shapes import BAD
from pipelines.definition.stages import StageReader
from pipelines.definition.templates import Budget, ExplosionError, read_templates


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a file: `definition` is None exactly if there are problems."""

    definition: Definition | None
    problems: tuple[Problem, ...]


def parse(
    text: bytes | str, *, teams: Collection[str] | None = None, kinds: Mapping[str, Kind] | None = None
) -> Result:
    """Read a pipeline file and report everything that is wrong with it, in the file's order. Never raises for
    what the file holds.

    `teams` are the teams that exist; None leaves them unchecked. `kinds` adds kinds of stages to the built-in
    ones.
    """
    report = Report()
    with _collector_paused():
        root = load(text, report)
        definition = None
        if root is not None:
            try:
                definition = _read(root, text, report, teams, {**KINDS, **(kinds or {})})
            except ExplosionError as error:
                report.add(error.at, "matrix-explosion", str(error), "use smaller matrices, inputs or templates")
    return Result(None if report else definition, report.problems())


_parsing = 0
_was_enabled = True
_parsing_lock = Lock()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without Python's garbage collector, which would look through a large file's nodes again and again while
    they are made and all still needed: half of the time. Threads that parse together resume it once, at the
    end."""
    global _parsing, _was_enabled
    with _parsing_lock:
        if not _parsing:
            _was_enabled = gc.isenabled()
            gc.disable()
        _parsing += 1
    try:
        yield
    finally:
        with _parsing_lock:
            _parsing -= 1
            if not _parsing and _was_enabled:
                gc.enable()


def digest_of(text: bytes | str) -> str:
    """What names a version of a file: "sha256:" and the hash of its bytes."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _read(
    root: Node, text: bytes | str, report: Report, teams: Collection[str] | None, kinds: Mapping[str, Kind]
) -> Definition | None:
    fields = FILE.fields(root, report)
    if fields is None:
        return None
    simple = {key: _simple(fields.get(key), key, report) for key in ("name", "engine", "description")}
    parameters = read_parameters(fields.get("parameters"), report)
    environments = read_environments(fields.get("environments"), report, teams)
    by_name = {parameter.name: parameter for parameter in parameters}
    scopes = {"parameters": by_name, "run": RUN_FIELDS}
    reader = StageReader(
        report=report,
        teams=teams,
        kinds=kinds,
        parameters=by_name,
        environments={environment.name for environment in environments},
        templates=read_templates(fields.get("templates"), report, scopes),
        budget=Budget(),
        placeholders=(b"{{" in text) if isinstance(text, bytes) else ("{{" in text),
    )
    triggers = read_triggers(fields.get("on"), report)
    stages = _read_stages(fields, reader, report)
    return Definition(
        name=simple["name"] or "",
        digest=digest_of(text),
        stages=stages,
        engine=simple["engine"] or "local",
        description=simple["description"] or "",
        parameters=parameters,
        environments=environments,
        triggers=triggers,
    )


def _simple(node: Node | None, key: str, report: Report) -> Any:
    value = FILE.keys[key].shape.read(node, report) if node is not None else None
    return None if value is BAD else value


def _read_stages(fields: Mapping[str, Node], reader: StageReader, report: Report) -> tuple[StageDef, ...]:
    entries: list[Entry] = []
    for key, least in (("stages", 1), ("on_exit", 0)):
        node = fields.get(key)
        reader.on_exit = key == "on_exit"
        found = ListOf(reader, least, MAX_STAGES).read(node, report) if node is not None else []
        entries.extend([] if found is BAD else found)
    check_graph(entries, report)
    check_artifacts(entries, reader.kinds, report)
    check_workspaces(entries, reader.kinds, report)
    return tuple(stage for entry in entries for stage in entry.stages)
