"""The keys of the pipeline file, once: `parse` checks against them and `json_schema()` publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.definition.containers import Key, ListOf, MapOf, OneOf, Record
from pipelines.definition.kinds import KINDS, Kind
from pipelines.definition.shapes import (
    PLACEHOLDER_PATTERN,
    Anything,
    Choice,
    Cron,
    Duration,
    Flag,
    Name,
    Number,
    Text,
)

MAX_STAGES = 10_000
MAX_NAME = 120  # characters in the name of a stage, with the values of its matrix
MAX_COMBINATIONS = 256
MAX_FREEZES = 100  # of one environment

_SCALAR = Text("text, a number, true or false", loose=True, empty=True)
_GLOBS = ListOf(Text("a glob"), maximum=1000)

FREEZE = Record(
    "a freeze",
    {
        "reason": Key(Text(maximum=500), "Why nothing may change; shown to everyone who waits.", required=True),
        "start": Key(Text("a time"), 'When it begins: ISO 8601 with its offset, "2026-12-24T00:00:00+01:00".'),
        "end": Key(Text("a time"), "When it ends: ISO 8601 with its offset."),
        "cron": Key(Cron(), "When it begins, again and again, instead of start and end."),
        "duration": Key(Duration(), "How long it lasts each time; needed with cron."),
        "timezone": Key(Text("a time zone"), "The time zone of cron.", default="UTC"),
    },
)
ENVIRONMENT = Record(
    "an environment",
    {
        "owner": Key(Name("a team"), "Team that owns the environment.", required=True),
        "concurrency": Key(
            Choice(("queue", "newest")),
            "queue: runs wait for each other; newest: a newer run replaces those that wait.",
            default="queue",
        ),
        "freeze": Key(ListOf(FREEZE, maximum=MAX_FREEZES), "Windows in which nothing may change."),
    },
)
PARAMETER = Record(
    "a parameter",
    {
        "default": Key(_SCALAR, "Value where a run gives none."),
        "description": Key(Text(), "What it is for."),
        "choices": Key(ListOf(_SCALAR, minimum=1, maximum=1000), "The only values it may have."),
        "required": Key(Flag(), "Whether every run has to give it; it has no default then.", default=False),
    },
)
TRIGGERS = Record(
    "on",
    {
        "branches": Key(_GLOBS, "Globs of branches whose pushes start a run; with paths alone, any does."),
        "paths": Key(_GLOBS, "Globs of paths, of which a push has to change one; all unless given."),
        "tags": Key(_GLOBS, "Globs of tags that start a run."),
        "schedule": Key(ListOf(Cron(), maximum=20), "Cron expressions (UTC) that start a run."),
    },
)
GATE = Record(
    "a gate",
    {
        "teams": Key(
            OneOf(list=ListOf(Name("a team"), minimum=1, unique=True), map=MapOf(Number(1, 100), minimum=1)),
            "Teams that all have to approve: a list, or team to number of people (1 or more).",
            required=True,
        ),
        "self_approval": Key(Flag(), "Whether whoever started the run may approve it.", default=False),
        "reason_required": Key(Flag(), "Whether an approval needs a reason in words.", default=False),
        "expires": Key(Duration(), "After how long without approval it is rejected; never unless given."),
    },
)
_RETRY_ON = Choice(("failed", "error"))
RETRY = Record(
    "a retry",
    {
        "limit": Key(Number(0, 20), "How many further attempts.", required=True),
        "backoff": Key(Duration(), "Wait before the first of them; none unless given."),
        "factor": Key(Number(1, 100, whole=False), "What the wait is multiplied by each time.", default=2),
        "max": Key(Duration(), "Longest wait.", default="1h"),
        "on": Key(
            OneOf(_RETRY_ON, ListOf(_RETRY_ON, minimum=1)),
            "failed (the work said no), error (the machinery broke), or a list of both.",
            default="error",
        ),
    },
)
_BODY: dict[str, Key] = {
    "title": Key(Text(maximum=200), "What people read; the name unless given."),
    "kind": Key(Name("a kind"), "Kind of work.", required=True),
    "owner": Key(
        Name("a team"), "Team that alone may retry, skip or change it; who approves it, its gate says.", required=True
    ),
    "needs": Key(ListOf(Name("a stage"), unique=True), "Stages that have to succeed, or be skipped, before it."),
    "depends": Key(Text("an expression"), "Argo's logic instead of needs: A.Succeeded && (B.Failed || C.Skipped)."),
    "when": Key(Text("a condition", loose=True), "Condition without which it is skipped: run.branch == 'main'."),
    "gate": Key(OneOf(scalar=Name("a team"), map=GATE), "Who approves its plan before it runs."),
    "retry": Key(OneOf(scalar=Number(0, 20), map=RETRY), "Further attempts: a number, or details."),
    "timeout": Key(Duration(), "Time after which an attempt is stopped."),
    "environment": Key(Text("an environment"), "Environment that it works on; one stage at a time does."),
    "with": Key(Anything(), "Settings of its kind."),
    "matrix": Key(
        MapOf(ListOf(Anything(), minimum=1)),
        f"Runs once for each combination of these values, at most {MAX_COMBINATIONS}; `exclude` lists those "
        "that do not run.",
    ),
}
STAGE = Record(
    "a stage",
    {
        "name": Key(Name("a stage's name"), "Name that others need it by.", required=True),
        **_BODY,
        "use": Key(Name("a template"), "Template whose keys it takes; its own keys win."),
        "inputs": Key(MapOf(Anything()), "Values of the template's inputs."),
    },
)
TEMPLATE = Record(
    "a template",
    {
        "inputs": Key(MapOf(Anything()), "Inputs, with their default, or {required: true}; used as {{inputs.name}}."),
        **_BODY,
    },
)
FILE = Record(
    "the pipeline file",
    {
        "name": Key(Name("the pipeline's name"), "Name of the pipeline.", required=True),
        "engine": Key(Choice(("local", "argo")), "Who orders the stages and runs them.", default="local"),
        "description": Key(Text(maximum=2000), "What the pipeline does, in a sentence."),
        "parameters": Key(MapOf(OneOf(scalar=_SCALAR, map=PARAMETER)), "Values that a run can be started with."),
        "environments": Key(MapOf(ENVIRONMENT), "Places that stages work on, each with its owner."),
        "on": Key(TRIGGERS, "What starts a run."),
        "templates": Key(MapOf(TEMPLATE), "Stages to be used several times, with inputs."),
        "stages": Key(ListOf(STAGE, 1, MAX_STAGES), "The stages; their needs decide the order.", required=True),
        "on_exit": Key(ListOf(STAGE, 0, MAX_STAGES), "Stages that run at the end, whatever happened before."),
    },
)


def json_schema(kinds: Mapping[str, Kind] | None = None) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the pipeline file, for editors; `parse` checks more than it can
    say."""
    known = {**KINDS, **(kinds or {})}
    file = FILE.json()
    stage = {"$ref": "#/$defs/stage"}
    file["properties"]["stages"]["items"] = stage
    file["properties"]["on_exit"]["items"] = stage
    file["properties"]["templates"]["additionalProperties"] = {"$ref": "#/$defs/template"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Burger Stack pipeline file",
        **file,
        "$defs": {"stage": _stage_schema(known), "template": _template_schema(known)},
    }


def _stage_schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    schema = STAGE.json()
    _sharpen(schema, kinds)
    # What a template gives, a stage that uses it need not say.
    schema["required"] = ["name"]
    rules: list[dict[str, Any]] = [
        {"if": {"not": {"required": ["use"]}}, "then": {"required": ["kind", "owner"]}},
        {"not": {"required": ["needs", "depends"]}},
        {"dependentRequired": {"inputs": ["use"]}},
    ]
    rules += [_kind_rule(name, kind) for name, kind in kinds.items()]
    return {**schema, "allOf": rules}


def _template_schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Any value of a template may be a placeholder, so only its keys are described."""
    schema = TEMPLATE.json()
    _sharpen(schema, kinds)
    placeholder = {"type": "string", "pattern": PLACEHOLDER_PATTERN}
    for key, described in schema["properties"].items():
        if key != "inputs":
            text = described.pop("description")
            schema["properties"][key] = {"description": text, "anyOf": [described, placeholder]}
    del schema["required"]
    return schema


def _sharpen(schema: dict[str, Any], kinds: Mapping[str, Kind]) -> None:
    properties = schema["properties"]
    properties["kind"] = {"description": properties["kind"]["description"], "enum": sorted(kinds)}
    properties["matrix"]["properties"] = {"exclude": {"type": "array", "items": {"type": "object", "minProperties": 1}}}


def _kind_rule(name: str, kind: Kind) -> dict[str, Any]:
    required = [
        *(["with"] if kind.required else []),
        *(["environment"] if kind.environment else []),
        *(["gate"] if name == "gate" else []),
    ]
    chosen = {"properties": {"kind": {"const": name}}, "required": ["kind"], "not": {"required": ["use"]}}
    return {
        "if": chosen,
        "then": {
            "properties": {"with": {"description": kind.description, **kind.with_.json()}},
            **({"required": required} if required else {}),
        },
    }
