"""Shapes of lists and mappings, made of the shapes of what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown
from pipelines.definition.shapes import BAD, Name, Shape, wrong_type


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape
    minimum: int = 0
    maximum: int = 10_000
    unique: bool = False

    @property
    def expected(self) -> str:
        return "a list"

    def read(self, node: Node, report: Report) -> Any:
        if node.kind != "list":
            return wrong_type(node, self, report, _as_list(node))
        if not self.minimum <= len(node.items) <= self.maximum:
            least = f"at least {self.minimum}" if len(node.items) < self.minimum else f"at most {self.maximum:,}"
            report.add(node, "bad-value", f"expected {least} in this list, found {len(node.items):,}")
            return BAD
        if self.unique:
            _report_doubles(node, report)
        read = self.item.read
        return [value for item in node.items if (value := read(item, report)) is not BAD]

    def json(self) -> dict[str, Any]:
        limits: dict[str, Any] = {"minItems": self.minimum} if self.minimum else {}
        limits |= {"uniqueItems": True} if self.unique else {}
        return {"type": "array", "items": self.item.json(), "maxItems": self.maximum, **limits}


def _as_list(node: Node) -> str:
    """What was probably meant by one value where a list is expected."""
    if node.kind != "scalar" or node.value is None or not 0 < len(node.text) < 40:
        return ""
    words = node.text.replace(",", " ").split()
    plain = all(word[0].isalnum() and word.replace("-", "").isalnum() for word in words)
    return f"write [{', '.join(words) if plain else json.dumps(node.text)}]"


def _report_doubles(node: Node, report: Report) -> None:
    seen: set[str] = set()
    for item in node.items:
        if item.kind == "scalar" and item.text in seen:
            report.add(item, "duplicate", f"{shown(item.text)} stands here twice")
        seen.add(item.text)


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping whose keys the author chooses; `key` says what they have to look like, None that they may be any."""

    value: Shape
    key: Shape | None = field(default_factory=Name)
    minimum: int = 0

    @property
    def expected(self) -> str:
        return "a mapping"

    def read(self, node: Node, report: Report) -> Any:
        pairs = read_pairs(node, self, report)
        if pairs is None:
            return BAD
        if len(pairs) < self.minimum:
            report.add(node, "bad-value", f"expected at least {self.minimum} in this mapping, found {len(pairs)}")
        found = {}
        for key, (key_node, value_node) in pairs.items():
            named = self.key is None or self.key.read(key_node, report) is not BAD
            value = self.value.read(value_node, report)
            if named and value is not BAD:
                found[key] = value
        return found

    def json(self) -> dict[str, Any]:
        names = {"propertyNames": self.key.json()} if self.key else {}
        limits = {"minProperties": self.minimum} if self.minimum else {}
        return {"type": "object", "additionalProperties": self.value.json(), **names, **limits}


@dataclass(frozen=True, slots=True)
class Key:
    shape: Shape
    description: str
    required: bool = False
    default: Any = None

    def json(self) -> dict[str, Any]:
        default = {"default": self.default} if self.default is not None else {}
        return {"description": self.description, **self.shape.json(), **default}


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with these keys and no others. `what` names it in messages ("a stage"). At least `least` of
    the keys have to be there, and no more than `most`. `rule` looks at the keys that are there, beside each other."""

    what: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    least: int = 0
    most: int = 1000
    rule: Callable[[Mapping[str, Node], Report], None] | None = None

    @property
    def expected(self) -> str:
        return f"a mapping of {self.what}"

    def read(self, node: Node, report: Report) -> Any:
        fields = self.fields(node, report)
        if fields is None:
            return BAD
        if not self.least <= len(node.items) <= self.most:
            wanted = "exactly" if self.least == self.most else "at least"
            names = ", ".join(self.keys)
            report.add(node, "bad-value", f"{self.what} has {wanted} one of {names}, found {len(node.items)}")
        if self.rule:
            self.rule(fields, report)
        values = ((key, self.keys[key].shape.read(value, report)) for key, value in fields.items())
        return {key: value for key, value in values if value is not BAD}

    def fields(self, node: Node, report: Report, *, partial: bool = False) -> dict[str, Node] | None:
        """The nodes of the known keys; reports unknown, double and (unless `partial`) missing ones."""
        pairs = read_pairs(node, self, report)
        if pairs is None:
            return None
        found, meant = {}, set()
        for key, (key_node, value_node) in pairs.items():
            if key in self.keys:
                found[key] = value_node
            else:
                report.unknown(key_node, "unknown-key", f"key of {self.what}", key, self.keys)
                meant.add(report.nearest(key, self.keys))
        if not partial:
            for key, known in self.keys.items():
                # A key that is there with a typing error is not missing as well.
                if known.required and key not in pairs and key not in meant:
                    report.add(node, "missing-key", f'{self.what} needs the key "{key}"', known.description)
        return found

    def json(self) -> dict[str, Any]:
        required = [key for key, known in self.keys.items() if known.required]
        return {
            "type": "object",
            "properties": {key: known.json() for key, known in self.keys.items()},
            "additionalProperties": False,
            **({"required": required} if required else {}),
            **({"minProperties": self.least} if self.least else {}),
            **({"maxProperties": self.most} if self.most < len(self.keys) else {}),
        }


@dataclass(frozen=True, slots=True)
class OneOf:
    """Different shapes for a scalar, a list and a mapping."""

    scalar: Shape | None = None
    list: Shape | None = None
    map: Shape | None = None

    @property
    def expected(self) -> str:
        shapes = [shape.expected for shape in (self.scalar, self.list, self.map) if shape]
        return " or ".join(shapes)

    def read(self, node: Node, report: Report) -> Any:
        shape = getattr(self, node.kind)
        return shape.read(node, report) if shape else wrong_type(node, self, report)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [shape.json() for shape in (self.scalar, self.list, self.map) if shape]}


def read_pairs(node: Node, shape: Shape, report: Report) -> dict[str, tuple[Node, Node]] | None:
    """A mapping's pairs by key, reporting keys that stand twice; None (reported) for anything else."""
    if node.kind != "map":
        wrong_type(node, shape, report)
        return None
    pairs: dict[str, tuple[Node, Node]] = {}
    for key, value in node.items:
        if key.text in pairs:
            first = pairs[key.text][0].line
            report.add(key, "duplicate", f"the key {shown(key.text)} stands here twice, first in line {first}")
        else:
            pairs[key.text] = (key, value)
    return pairs
