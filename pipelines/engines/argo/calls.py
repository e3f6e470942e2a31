"""One step or task as it stands in the file: which template it calls, when, and how often. Reads without complaint;
`problems` says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.definition.depends import parse_depends
from pipelines.definition.grammar import ExpressionError
from pipelines.definition.loader import Node

from .model import Fan
from .reading import LONGEST_NAME, is_nothing, items, label, pairs, text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")
_PARAMETER = re.compile(r"\{\{\s*workflow\.parameters\.([^}\s]+)\s*\}\}")
_PLAIN = re.compile(r"[A-Za-z0-9-]+( *&& *[A-Za-z0-9-]+)*")
SHOWN = 120  # characters of an expression


@dataclass(frozen=True, slots=True)
class Ref:
    """A template of another document; `node` is where it is named."""

    name: str
    template: str
    cluster: bool
    node: Node

    @property
    def title(self) -> str:
        return f"{self.name}/{self.template}"


@dataclass(frozen=True, slots=True)
class Call:
    """A step, a task or a hook. Exactly one of `template`, `ref` and `inline` if nothing is wrong with it."""

    node: Node
    name: str
    template: str = ""
    ref: Ref | None = None
    inline: Node | None = None

    @property
    def when(self) -> str:
        return short(text(self.node, "when"))

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The names of the tasks that it depends on, each once."""
        listed = [item.text for item in items(self.node, "dependencies") if item.kind == "scalar"]
        return tuple(dict.fromkeys([*listed, *_named(text(self.node, "depends"))]))

    @property
    def condition(self) -> str:
        """What `depends` asks for, where that is more than that all have succeeded."""
        depends = " ".join(text(self.node, "depends").split())
        return "" if _PLAIN.fullmatch(depends) else short(depends)

    @property
    def arguments(self) -> dict[str, set[str]]:
        """The names of the arguments that it passes, by what they are."""
        given = self.node.get("arguments")
        return {what: {text(item, "name") for item in items(given, what)} for what in ("parameters", "artifacts")}

    def hooks(self) -> list[Hook]:
        return hooks_of(self.node)


@dataclass(frozen=True, slots=True)
class Hook:
    """What runs beside or after something: `expression` says when; "" is once it has ended."""

    call: Call
    expression: str


def call(node: Node) -> Call:
    ref, inline = node.get("templateRef"), node.get("inline")
    found = None
    if ref is not None and ref.kind == "map":
        found = Ref(label(ref, "name"), label(ref, "template"), text(ref, "clusterScope").lower() == "true", ref)
    inner = inline if inline is not None and inline.kind == "map" else None
    return Call(node, label(node, "name"), label(node, "template"), found, inner)


def hooks_of(node: Node) -> list[Hook]:
    """The hooks of a spec, a step or a task, `onExit` included, which is the older way to write the hook `exit`."""
    found = []
    for name, hook in pairs(node, "hooks"):
        if hook.kind == "map":
            one = call(hook)
            expression = "" if name.text == "exit" else short(text(hook, "expression"))
            found.append(Hook(Call(one.node, name.text[:LONGEST_NAME], one.template, one.ref), expression))
    place = node.get("onExit")
    if place is not None and text(node, "onExit") and not any(hook.call.name == "exit" for hook in found):
        found.append(Hook(Call(place, "exit", place.text[:LONGEST_NAME]), ""))
    return found


def fan(node: Node, given: Mapping[str, str]) -> Fan | None:
    """How often a step or task runs; None for once. `given` are the workflow's own parameters with a value."""
    listed, sequence = node.get("withItems"), node.get("withSequence")
    if listed is not None and not is_nothing(listed):
        return Fan("withItems", len(listed.items) if listed.kind == "list" else None, "")
    if param := text(node, "withParam"):
        return _from_param(param, given)
    if sequence is not None and sequence.kind == "map":
        return _sequence(sequence, given)
    return None


def _from_param(param: str, given: Mapping[str, str]) -> Fan:
    width = _length(param)
    if width is not None or "{{" not in param:
        return Fan("withParam", width, "" if width is not None else "it is no list in JSON")
    says = f"the length of {short(param)} is known only once it runs"
    named = _PARAMETER.fullmatch(param.strip())
    by_default = _length(given.get(named[1], "")) if named else None
    if by_default is not None:
        says = f"{by_default} with the value that the file gives to {named[1] if named else ''}; another may be given"
    return Fan("withParam", None, says)


def _length(param: str) -> int | None:
    try:
        found = json.loads(param)
    except (ValueError, RecursionError):
        return None
    return len(found) if isinstance(found, list) else None


def _sequence(node: Node, given: Mapping[str, str]) -> Fan:
    raw = {key: text(node, key) for key in ("start", "end", "count")}
    filled = {key: _PARAMETER.sub(lambda found: given.get(found[1], found[0]), value) for key, value in raw.items()}
    width = _width(filled)
    if filled == raw and width is not None:
        return Fan("withSequence", width, "")
    asked = " and ".join(f"{key} {short(value)}" for key, value in raw.items() if "{{" in value)
    if not asked:
        return Fan("withSequence", None, "its bounds are no whole numbers")
    if width is not None:
        return Fan(
            "withSequence", None, f"{width} with the values that the file gives; others may be given for {asked}"
        )
    return Fan("withSequence", None, f"its {asked} is known only once it runs")


def _width(bounds: Mapping[str, str]) -> int | None:
    numbers = {key: int(value) for key, value in bounds.items() if _NUMBER.fullmatch(value)}
    if len(numbers) != len([value for value in bounds.values() if value]):
        return None
    if "count" in numbers and "end" not in numbers:
        return max(0, numbers["count"])
    return abs(numbers["end"] - numbers.get("start", 0)) + 1 if "end" in numbers else None


def _named(depends: str) -> tuple[str, ...]:
    """The tasks of an expression; of one that cannot be understood, what looks like a task."""
    if not depends.strip():
        return ()
    try:
        return parse_depends(depends).names
    except ExpressionError:
        return tuple(word for word in re.split(r"[^A-Za-z0-9.-]+", depends) if _NAME.fullmatch(word))


def short(expression: str) -> str:
    """On one line, and no longer than can be shown."""
    one_line = " ".join(expression.split())
    return one_line if len(one_line) <= SHOWN else one_line[: SHOWN - 1] + "…"
