"""The parts of the file beside its stages: parameters, environments with their freezes, and triggers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from pipelines.definition.containers import read_pairs
from pipelines.definition.durations import always_due, cron_problem, known_timezone, parse_duration, timezones
from pipelines.definition.loader import Node
from pipelines.definition.model import EnvironmentDef, Freeze, Parameter, Trigger
from pipelines.definition.report import Report, shown
from pipelines.definition.schema import ENVIRONMENT, FILE, FREEZE, MAX_FREEZES, TRIGGERS
from pipelines.definition.shapes import BAD


def read_parameters(node: Node | None, report: Report) -> tuple[Parameter, ...]:
    values = FILE.keys["parameters"].shape.read(node, report) if node else {}
    if values is BAD or node is None:
        return ()
    nodes = {key.text: value for key, value in node.items}
    return tuple(_parameter(name, value, nodes[name], report) for name, value in values.items())


def _parameter(name: str, value: Any, node: Node, report: Report) -> Parameter:
    if isinstance(value, str):
        return Parameter(name, value)
    choices = tuple(value.get("choices", ()))
    required = value.get("required", False)
    default_node = node.get("default")
    if required and default_node is not None:
        report.add(default_node, "bad-value", f"the parameter {shown(name)} is required, so its default never counts")
    elif choices and not required and default_node is None:
        message = f"the parameter {shown(name)} has choices and no default"
        report.add(node, "missing-key", message, "give a default, or required: true")
    elif choices and default_node is not None and value.get("default") not in choices:
        hint = report.nearest(default_node.text, choices) or "use one of: " + ", ".join(choices[:12])
        message = f"the default {shown(default_node.text)} is none of the choices"
        report.add(default_node, "bad-value", message, hint)
    if len(set(choices)) < len(choices):
        report.add(node.get("choices") or node, "duplicate", f"a choice of {shown(name)} stands here twice")
    description = value.get("description", "")
    return Parameter(name, value.get("default", ""), description, choices, required)


def read_environments(node: Node | None, report: Report, teams: Collection[str] | None) -> tuple[EnvironmentDef, ...]:
    if node is None:
        return ()
    shape = FILE.keys["environments"].shape
    # Read as a whole for its problems, then one by one, so that one that is wrong still counts as declared.
    shape.read(node, report)
    pairs = read_pairs(node, shape, report) or {}
    return tuple(_environment(name, value, report, teams) for name, (_, value) in pairs.items())


def _environment(name: str, node: Node, report: Report, teams: Collection[str] | None) -> EnvironmentDef:
    owner, freezes = node.get("owner"), node.get("freeze")
    if owner is not None and owner.kind == "scalar" and teams is not None and owner.text not in teams:
        report.unknown(owner, "unknown-team", "team", owner.text, teams)
    values = ENVIRONMENT.read(node, report) if node.kind == "map" else {}
    items = freezes.items[:MAX_FREEZES] if freezes is not None and freezes.kind == "list" else []
    read = [_freeze(item, report) for item in items]
    return EnvironmentDef(
        name,
        values.get("owner", ""),
        values.get("concurrency", "queue"),
        tuple(freeze for freeze in read if freeze is not None),
    )


def _freeze(node: Node, report: Report) -> Freeze | None:
    values = FREEZE.read(node, report)
    if values is BAD:
        return None
    fixed, repeated = {"start", "end"} & values.keys(), {"cron", "duration"} & values.keys()
    written = {key.text for key, _ in node.items}
    if fixed and repeated:
        message = "a freeze has either start and end, or cron and duration"
        report.add(node, "bad-value", message, "make two freezes of it")
    elif not {"start", "end"} <= written and not {"cron", "duration"} <= written:
        report.add(node, "missing-key", "a freeze needs start and end, or cron and duration")
    times = {key: _time(node.get(key), report) for key in fixed}
    start, end = times.get("start"), times.get("end")
    if start and end and start >= end:
        report.add(node.get("end") or node, "bad-value", "the freeze ends before it begins")
    zone = node.get("timezone")
    if zone is not None and zone.kind == "scalar" and not known_timezone(zone.text):
        report.unknown(zone, "bad-timezone", "time zone", zone.text, timezones())
    seconds = parse_duration(values["duration"]) if "duration" in values else 0.0
    if seconds and "cron" in values and not cron_problem(values["cron"]) and always_due(values["cron"], seconds):
        report.add(node.get("duration") or node, "bad-value", "this freeze lasts until it begins again: it never ends")
    return Freeze(**{"reason": "", **values, "duration": seconds})


def _time(node: Node | None, report: Report) -> datetime | None:
    if node is None:
        return None
    try:
        found = datetime.fromisoformat(node.text)
        if found.utcoffset() is not None:
            return found
        problem = "has no offset from UTC"
    except ValueError:
        problem = "is not a time"
    report.add(node, "bad-time", f"{shown(node.text)} {problem}", 'write it like "2026-12-24T00:00:00+01:00"')
    return None


def read_triggers(node: Node | None, report: Report) -> Trigger:
    values = TRIGGERS.read(node, report) if node else {}
    if values is BAD:
        return Trigger()
    return Trigger(**{key: tuple(globs) for key, globs in values.items()})
