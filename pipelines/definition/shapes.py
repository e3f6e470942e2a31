"""What a value of the file may look like: each shape reads nodes (reporting what is wrong) and describes
itself as JSON Schema, so that the check and the published schema cannot differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.definition.durations import DurationError, cron_problem, parse_duration, suggest_duration
from pipelines.definition.forms import written
from pipelines.definition.loader import Node
from pipelines.definition.report import Mention, Report, shown

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
DURATION_PATTERN = r"^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
PLACEHOLDER_PATTERN = r"\{\{.+\}\}"


class Bad:
    """Stands for a value that could not be read; what is wrong with it has been reported."""


BAD = Bad()


class Shape(Protocol):
    def read(self, node: Node, report: Report) -> Any:
        """The node as Python values, or BAD."""

    def json(self) -> dict[str, Any]:
        """The shape as JSON Schema."""

    @property
    def expected(self) -> str:
        """What a message says was expected."""


def wrong_type(node: Node, shape: Shape, report: Report, hint: str = "") -> Bad:
    report.add(node, "wrong-type", f"expected {shape.expected}, found {node.described}", hint)
    return BAD


def has_placeholder(node: Node) -> bool:
    return node.kind == "scalar" and isinstance(node.value, str) and "{{" in node.value


@dataclass(frozen=True, slots=True)
class Text:
    """Text, not empty. `loose` takes numbers and booleans too, as they are written."""

    expected: str = "text"
    loose: bool = False
    empty: bool = False
    maximum: int = 20_000

    def read(self, node: Node, report: Report) -> Any:
        if node.kind != "scalar" or node.value is None or not (self.loose or isinstance(node.value, str)):
            quoted = f'write "{node.text}"' if node.kind == "scalar" and node.text and len(node.text) < 40 else ""
            return wrong_type(node, self, report, quoted)
        if not self.empty and not node.text.strip():
            report.add(node, "bad-value", f"expected {self.expected}, found an empty text")
            return BAD
        if len(node.text) > self.maximum:
            message = f"{len(node.text):,} characters are too many, at most {self.maximum:,} are allowed"
            report.add(node, "bad-value", message)
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        limits: dict[str, Any] = {"maxLength": self.maximum, **({} if self.empty else {"minLength": 1})}
        return {"type": ["string", "number", "boolean"] if self.loose else "string", **limits}


@dataclass(frozen=True, slots=True)
class Name:
    """A name of letters, digits, "-" and "_", at most 63 long. Numbers count as names as they are written."""

    expected: str = "a name"

    def read(self, node: Node, report: Report) -> Any:
        if node.kind != "scalar" or node.value is None:
            return wrong_type(node, self, report)
        if not _NAME.match(node.text):
            message = f'{shown(node.text)} is not a name: letters, digits, "-" and "_", at most 63'
            near = re.sub(r"[^A-Za-z0-9_-]+", "-", node.text[:63]).strip("-_")
            report.add(node, "bad-name", message, near if _NAME.match(near) else "")
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": NAME_PATTERN}


_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))


@dataclass(frozen=True, slots=True)
class Choice:
    choices: tuple[str, ...]
    placeholders: bool = False

    @property
    def expected(self) -> str:
        return " or ".join(filter(None, [", ".join(self.choices[:-1]), self.choices[-1]]))

    def read(self, node: Node, report: Report) -> Any:
        if self.placeholders and has_placeholder(node):
            return node.text
        if node.kind != "scalar" or node.value is None:
            return wrong_type(node, self, report)
        if node.text not in self.choices:
            hint = report.nearest(node.text, self.choices)
            report.add(node, "bad-value", f"expected {self.expected}, found {shown(node.text)}", hint)
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        return _or_placeholder({"enum": list(self.choices)}, self.placeholders)


@dataclass(frozen=True, slots=True)
class Flag:
    placeholders: bool = False
    expected: str = "true or false"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node.value, bool):
            return node.value
        if self.placeholders and has_placeholder(node):
            return node.text
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(node.text.lower(), "")
        return wrong_type(node, self, report, meant)

    def json(self) -> dict[str, Any]:
        return _or_placeholder({"type": "boolean"}, self.placeholders)


@dataclass(frozen=True, slots=True)
class Number:
    minimum: float
    maximum: float
    whole: bool = True
    placeholders: bool = False

    @property
    def expected(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.minimum:g} to {self.maximum:,.10g}"

    def read(self, node: Node, report: Report) -> Any:
        value = node.value
        if self.placeholders and has_placeholder(node):
            return node.text
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return wrong_type(node, self, report)
        if not self.minimum <= value <= self.maximum:
            report.add(node, "bad-value", f"expected {self.expected}, found {node.text}")
            return BAD
        return value

    def json(self) -> dict[str, Any]:
        kind = "integer" if self.whole else "number"
        number = {"type": kind, "minimum": self.minimum, "maximum": self.maximum}
        return _or_placeholder(number, self.placeholders)


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration, kept as it is written: `parse_duration` gives its seconds."""

    placeholders: bool = False
    expected: str = "a duration such as 30s, 5m, 1h30m or 2d"

    def read(self, node: Node, report: Report) -> Any:
        if self.placeholders and has_placeholder(node):
            return node.text
        if node.kind != "scalar" or node.value is None:
            return wrong_type(node, self, report)
        try:
            parse_duration(node.text)
        except DurationError as error:
            report.add(node, "bad-duration", str(error), suggest_duration(node.text))
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        duration = {"type": "string", "pattern": DURATION_PATTERN}
        return _or_placeholder(duration, self.placeholders)


@dataclass(frozen=True, slots=True)
class Form:
    """Text of one form: the regular expression has to fit as a whole. `meant` says what was probably meant by another
    text, or ""."""

    expected: str
    form: str
    meant: Callable[[str], str] = str

    def read(self, node: Node, report: Report) -> Any:
        if has_placeholder(node):
            return node.text
        if node.kind != "scalar" or not isinstance(node.value, str):
            return wrong_type(node, self, report)
        if not written(self.form).fullmatch(node.text):
            near = self.meant(node.text)
            hint = near if written(self.form).fullmatch(near) else ""
            report.add(node, "bad-value", f"expected {self.expected}, found {shown(node.text)}", hint)
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        return _or_placeholder({"type": "string", "pattern": f"^(?:{self.form})$"}, placeholders=True)


@dataclass(frozen=True, slots=True)
class Regex:
    expected: str = "a regular expression"

    def read(self, node: Node, report: Report) -> Any:
        if node.kind != "scalar" or not isinstance(node.value, str):
            return wrong_type(node, self, report)
        try:
            re.compile("" if has_placeholder(node) else node.text)
        except re.error as error:
            place = node.at(error.pos or 0)
            report.add(place, "bad-value", f"{shown(node.text)} is no regular expression: {error.msg}")
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        return {"type": "string", "format": "regex"}


@dataclass(frozen=True, slots=True)
class Made:
    """The name of an artifact of one of these sorts, which a stage before makes; or one of `words`."""

    sorts: tuple[str, ...]
    words: tuple[str, ...] = ()
    expected: str = "an artifact"

    def read(self, node: Node, report: Report) -> Any:
        text = Text(self.expected).read(node, report)
        if text is not BAD and text not in self.words and not has_placeholder(node):
            report.mentions.append(Mention(text, node.line, node.column, self.sorts, self.words))
        return text

    def json(self) -> dict[str, Any]:
        return Text(self.expected).json()


@dataclass(frozen=True, slots=True)
class Either:
    """`first` where the value is of one of these types, `other` for all else."""

    of: tuple[type, ...]
    first: Shape
    other: Shape

    @property
    def expected(self) -> str:
        return f"{self.first.expected} or {self.other.expected}"

    def read(self, node: Node, report: Report) -> Any:
        return (self.first if type(node.value) in self.of else self.other).read(node, report)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [self.first.json(), self.other.json()]}


@dataclass(frozen=True, slots=True)
class OrEmpty:
    """The shape, or nothing, which means an empty mapping."""

    shape: Shape

    @property
    def expected(self) -> str:
        return self.shape.expected

    def read(self, node: Node, report: Report) -> Any:
        return {} if node.kind == "scalar" and node.value is None else self.shape.read(node, report)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [self.shape.json(), {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Cron:
    expected: str = 'a cron expression such as "30 2 * * 1-5"'

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node.value, str):
            return wrong_type(node, self, report)
        problem = cron_problem(node.text)
        if problem:
            report.add(node, "bad-cron", f"the cron expression {shown(node.text)} {problem}")
            return BAD
        return node.text

    def json(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"}


@dataclass(frozen=True, slots=True)
class Anything:
    expected: str = "a value"

    def read(self, node: Node, report: Report) -> Any:
        return node.plain()

    def json(self) -> dict[str, Any]:
        return {}


def _or_placeholder(schema: dict[str, Any], placeholders: bool) -> dict[str, Any]:
    if not placeholders:
        return schema
    return {"anyOf": [schema, {"type": "string", "pattern": PLACEHOLDER_PATTERN}]}
