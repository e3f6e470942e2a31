"""Templates, and what they share with matrices: filling placeholders into nodes, which keep their places.

A value that comes from an input keeps the place where the input was given, so a problem points there.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pipelines.definition.containers import read_pairs
from pipelines.definition.loader import Node, scalar
from pipelines.definition.placeholders import BRACES, DOTTED, PLACEHOLDER
from pipelines.definition.report import Report, shown
from pipelines.definition.schema import TEMPLATE
from pipelines.definition.shapes import Name, has_placeholder

_MAX_NODES = 500_000
_MAX_CHARACTERS = 8_000_000
_SCOPES = {"inputs": "input", "matrix": "matrix name", "parameters": "parameter", "run": "fact of a run"}


class ExplosionError(Exception):
    """Templates and matrices make more than a file may; the place is where it became too much."""

    def __init__(self, at: Node) -> None:
        super().__init__("the templates and matrices of this file expand to too much")
        self.at = at


class Budget:
    """How much templates and matrices may still copy: a small file must not become a huge pipeline."""

    def __init__(self) -> None:
        self._nodes = _MAX_NODES
        self._characters = _MAX_CHARACTERS

    def spend(self, at: Node, nodes: int, characters: int = 0) -> None:
        self._nodes -= nodes
        self._characters -= characters
        if self._nodes < 0 or self._characters < 0:
            raise ExplosionError(at)


@dataclass(frozen=True, slots=True)
class Template:
    """`inputs` maps each input to its default, None for a required one; `required` and `defaults` are the same, sorted
    out once for all who use it."""

    name: str
    inputs: Mapping[str, Node | None]
    keys: Mapping[str, tuple[Node, Node]]
    required: tuple[str, ...]
    defaults: dict[str, Node]


def read_templates(node: Node | None, report: Report, known: Mapping[str, Collection[str]]) -> dict[str, Template]:
    """The file's templates by name; their keys and placeholders are checked here, used or not."""
    if node is None:
        return {}
    pairs = read_pairs(node, TEMPLATE, report) or {}
    found = {}
    for name, (key, value) in pairs.items():
        Name("a template's name").read(key, report)
        fields = TEMPLATE.fields(value, report, partial=True)
        if fields is None:
            continue
        inputs = _read_inputs(fields.get("inputs"), report)
        keys = {pair[0].text: pair for pair in value.items if pair[0].text in fields and pair[0].text != "inputs"}
        # Without a matrix of its own, a template may count on that of the stage that uses it.
        matrix = _axes(fields["matrix"]) if "matrix" in fields else None
        scopes = {**known, "inputs": tuple(inputs), "matrix": matrix}
        for _, body in keys.values():
            check_placeholders(body, scopes, report)
        required = tuple(one for one, default in inputs.items() if default is None)
        defaults = {one: default for one, default in inputs.items() if default is not None}
        found[name] = Template(name, inputs, keys, required, defaults)
    return found


def _axes(matrix: Node) -> tuple[str, ...]:
    return tuple(key.text for key, _ in matrix.items if key.text != "exclude") if matrix.kind == "map" else ()


def _read_inputs(node: Node | None, report: Report) -> dict[str, Node | None]:
    if node is None:
        return {}
    inputs: dict[str, Node | None] = {}
    for name, (key, value) in (read_pairs(node, TEMPLATE.keys["inputs"].shape, report) or {}).items():
        Name("an input's name").read(key, report)
        if value.kind != "map":
            inputs[name] = value
            continue
        if value.plain() != {"required": True}:
            message = f"the input {shown(name)} has a mapping that is not {{required: true}}"
            report.add(value, "bad-value", message, "give a default, or {required: true}")
        inputs[name] = None
    return inputs


def expand(stage: Node, template: Template, budget: Budget) -> Node:
    """A stage with its template's keys taken over.

    The stage's own keys win; `with` is joined key by key. Placeholders are still there: `fill_inputs` is
    next.
    """
    own = {key.text: (key, value) for key, value in stage.items}
    merged = Node("map", stage.line, stage.column)
    for key, pair in template.keys.items():
        if key not in own:
            merged.items.append(pair)
    for key, (key_node, value) in own.items():
        base = template.keys.get(key)
        if key == "with" and base and base[1].kind == value.kind == "map":
            value = _joined(base[1], value)
        merged.items.append((key_node, value))
    merged.size = _size(merged)
    budget.spend(stage, merged.size)
    return merged


def _joined(base: Node, own: Node) -> Node:
    keys = {key.text for key, _ in own.items}
    joined = Node("map", own.line, own.column)
    joined.items = [pair for pair in base.items if pair[0].text not in keys] + own.items
    joined.size = _size(joined)
    return joined


def _size(node: Node) -> int:
    if node.kind == "map":
        return 1 + sum(key.size + value.size for key, value in node.items)
    return 1 + sum(item.size for item in node.items)


def fill_inputs(stage: Node, template: Template, report: Report, budget: Budget) -> Node:
    """The expanded stage with every `{{inputs.x}}` filled in; reports unknown and missing inputs."""
    given_node = stage.get("inputs")
    shape = TEMPLATE.keys["inputs"].shape
    pairs = (read_pairs(given_node, shape, report) or {}) if given_node else {}
    given: dict[str, Node] = {}
    for name, (key, value) in pairs.items():
        if name in template.inputs:
            given[name] = value
        else:
            report.unknown(key, "unknown-input", f"input of {shown(template.name)}", name, template.inputs)
    budget.spend(stage, len(template.required))
    for name in template.required:
        if name not in given:
            place = given_node or stage.get("use") or stage
            report.add(place, "missing-input", f"the template {shown(template.name)} needs the input {shown(name)}")
    # The inputs themselves go: an input that mentions an input would be filled in with itself.
    body = Node("map", stage.line, stage.column)
    body.items = [pair for pair in stage.items if pair[0].text not in ("inputs", "use")]
    body.size = _size(body)
    return substitute(body, "inputs", ChainMap(given, template.defaults), report, budget)


def substitute(node: Node, scope: str, values: Mapping[str, Node], report: Report, budget: Budget) -> Node:
    """The node with the placeholders of one scope filled in; the same node where there are none.

    A placeholder that is the whole value becomes the value itself, a list too; within a text it becomes text.
    """
    budget.spend(node, node.size)
    return _substituted(node, lambda at, text: _filled(at, text, scope, values, report, budget))


def _substituted(node: Node, filled: Callable[[Node, str], Node]) -> Node:
    if node.kind == "scalar":
        return filled(node, node.text) if has_placeholder(node) else node
    copy = Node(node.kind, node.line, node.column)
    if node.kind == "list":
        copy.items = [_substituted(item, filled) for item in node.items]
        changed = any(new is not old for new, old in zip(copy.items, node.items, strict=True))
    else:
        copy.items = [(_substituted(key, filled), _substituted(value, filled)) for key, value in node.items]
        changed = any(
            new[0] is not old[0] or new[1] is not old[1] for new, old in zip(copy.items, node.items, strict=True)
        )
    if not changed:
        return node
    copy.size = _size(copy)
    return copy


def _filled(node: Node, text: str, scope: str, values: Mapping[str, Node], report: Report, budget: Budget) -> Node:
    whole = PLACEHOLDER.fullmatch(text)
    dotted = DOTTED.fullmatch(whole[1]) if whole else None
    if dotted and dotted[1] == scope and dotted[2] in values:
        budget.spend(node, values[dotted[2]].size)
        return values[dotted[2]]

    def one(match: re.Match[str]) -> str:
        found = DOTTED.fullmatch(match[1])
        if not found or found[1] != scope or found[2] not in values:
            return match[0]
        value = values[found[2]]
        if value.kind != "scalar":
            message = f"{shown(match[0])} is {value.described}, which cannot stand within a text"
            report.add(node.at(match.start()), "bad-placeholder", message, "let it be the whole value")
            return match[0]
        budget.spend(node, 0, len(value.text))
        return value.text

    new = PLACEHOLDER.sub(one, text)
    budget.spend(node, 0, len(new))
    return scalar(new, new, node) if new != text else node


def check_placeholders(node: Node, scopes: Mapping[str, Collection[str] | None], report: Report) -> None:
    """Report each placeholder that names nothing; a scope of None is not checked."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.kind == "list":
            waiting.extend(node.items)
        elif node.kind == "map":
            waiting.extend(part for pair in node.items for part in pair)
        elif has_placeholder(node):
            _check_text(node, scopes, report)


def _check_text(node: Node, scopes: Mapping[str, Collection[str] | None], report: Report) -> None:
    end = 0
    for match in PLACEHOLDER.finditer(node.text):
        _check_closed(node, end, match.start(), report)
        end = match.end()
        if not BRACES.fullmatch(match[1]):
            _check_placeholder(node, match, scopes, report)
    _check_closed(node, end, len(node.text), report)


def _check_placeholder(
    node: Node, match: re.Match[str], scopes: Mapping[str, Collection[str] | None], report: Report
) -> None:
    dotted = DOTTED.fullmatch(match[1])
    if not dotted or dotted[1] not in _SCOPES:
        near = report.nearest(dotted[1], _SCOPES) if dotted else ""
        hint = f"{{{{{near}.{dotted[2]}}}}}" if dotted and near else 'write {{"{{"}} for two plain braces'
        message = f"unknown placeholder {shown(match[0])}"
        report.add(node.at(match.start()), "bad-placeholder", message, hint)
        return
    known = scopes.get(dotted[1])
    if known is not None and dotted[2] not in known:
        place = node.at(match.start(1) + dotted.start(2))
        report.unknown(place, "unknown-placeholder", _SCOPES[dotted[1]], dotted[2], known)


def _check_closed(node: Node, start: int, end: int, report: Report) -> None:
    """Report two braces between these offsets, where no placeholder is."""
    found = node.text.find("{{", start, end)
    if found >= 0:
        hint = 'end it with }}, or write {{"{{"}} for two plain braces'
        message = "the placeholder that begins here does not end"
        report.add(node.at(found), "bad-placeholder", message, hint)
