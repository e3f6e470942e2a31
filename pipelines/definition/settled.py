"""Shapes that the `with` of several kinds of stages share. A number or a flag may be a placeholder of a parameter."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.definition import forms
from pipelines.definition.containers import Key, ListOf, MapOf
from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown
from pipelines.definition.shapes import Duration, Form, Number, Text

WORDS = ListOf(Text("text", loose=True, empty=True), minimum=1)
NAMES = ListOf(Text("a name"))
VALUES = MapOf(Text("text", loose=True, empty=True))
VARIABLE = Form("a variable's name of letters, digits and _", forms.VARIABLE, lambda text: text.replace("-", "_"))
INSIDE = Form("a path inside the repository", forms.INSIDE, lambda text: text.lstrip("/"))
ENV = MapOf(Text("text", loose=True, empty=True), VARIABLE)
SECRETS = Key(MapOf(Text("a reference to a secret"), VARIABLE), "Variable to reference of a secret of the owner.")


def once_each(fields: Mapping[str, Node], report: Report) -> None:
    """A rule: no variable is given by `env` and by `secrets`."""
    env, secrets = fields.get("env"), fields.get("secrets")
    if env is None or secrets is None or env.kind != "map" or secrets.kind != "map":
        return
    given = {key.text for key, _ in env.items}
    for key, _ in secrets.items:
        if key.text in given:
            report.add(key, "duplicate", f"{shown(key.text)} stands in env too", "give it in one of them")


def duration() -> Duration:
    return Duration(placeholders=True)


def number(minimum: float, maximum: float, *, whole: bool = True) -> Number:
    return Number(minimum, maximum, whole, placeholders=True)


def command(text: str) -> Key:
    return Key(WORDS, f"{text} The program and its arguments, one by one; no shell is between.", required=True)
