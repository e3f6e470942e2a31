"""Inputs of templates and parameters of workflows: whether what is used is there, and what is needed is given."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown

from .reading import Template, items, text

WHAT = ("parameters", "artifacts")
_INPUT = re.compile(r"\{\{\s*inputs\.(parameters|artifacts)\.([A-Za-z0-9_-]+)(?:\.path)?\s*\}\}")
_PARAMETER = re.compile(r"\{\{\s*workflow\.parameters\.([A-Za-z0-9_-]+)\s*\}\}")
# Of an artifact; any other key says where it lies, one for each kind of store.
_PLAIN = frozenset(
    ("name", "path", "mode", "archive", "recurseMode", "globalName", "deleted", "artifactGC", "optional")
)


def check_used(node: Node, report: Report) -> None:
    """One template: whether it has the inputs that it uses."""
    own = {what: {text(item, "name") for item in items(node.get("inputs"), what)} for what in WHAT}
    for scalar in scalars(node, but="inline"):
        for found in _INPUT.finditer(scalar.text) if "{{" in scalar.text else ():
            if found[2] not in own[found[1]]:
                what = f"input {found[1].removesuffix('s')}"
                report.unknown(scalar.at(found.start(2)), "unknown-input", what, found[2], own[found[1]])


def check_parameters(node: Node, known: Collection[str], report: Report) -> None:
    """A whole workflow, whose own parameters are `known`."""
    for scalar in scalars(node):
        for found in _PARAMETER.finditer(scalar.text) if "{{" in scalar.text else ():
            if found[1] not in known:
                at = scalar.at(found.start(1))
                report.unknown(at, "unknown-parameter", "parameter of the workflow", found[1], known)


def check_supplied(at: Node, given: Mapping[str, set[str]], found: Template, where: str, report: Report) -> None:
    """A call at `at`: whether every input of `found` that has no value of its own is among those given."""
    for what in WHAT:
        for item in items(found.node.get("inputs"), what):
            name = text(item, "name")
            if name and name not in given[what] and not _has_value(item, what):
                single = what.removesuffix("s")
                message = f"the template {shown(found.title)} needs the {single} {shown(name)}, which is not passed"
                report.add(at, "missing-argument", message, f"add it to {what} of {where}")


def _has_value(item: Node, what: str) -> bool:
    if what == "parameters":
        return any(item.get(key) is not None for key in ("value", "default", "valueFrom"))
    return text(item, "optional").lower() == "true" or any(key.text not in _PLAIN for key, _ in item.items)


def scalars(node: Node | None, but: str = "") -> Iterable[Node]:
    """All values in it, save what stands under the key `but`."""
    stack = [node] if node is not None else []
    while stack:
        one = stack.pop()
        if one.kind == "scalar":
            yield one
        elif one.kind == "list":
            stack += one.items
        else:
            stack += [value for key, value in one.items if key.text != but]
