"""Matrices: one stage for each combination of values."""

from __future__ import annotations

import re
from itertools import product
from math import prod

from pipelines.definition.containers import read_pairs
from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown
from pipelines.definition.schema import MAX_COMBINATIONS, STAGE
from pipelines.definition.shapes import BAD, Name

Combination = dict[str, Node]

# Combinations are part of a stage's name, stage[value,value], which has to stay readable one way only, and which
# people take over into a shell.
_VALUE = re.compile(r"(?:[^\W_]|[-_.:/@+=~^%]){1,100}")


def combinations_of(node: Node, report: Report) -> list[Combination]:
    """Every combination of the matrix that is not excluded, in the file's order; [] where it is wrong
    (reported)."""
    pairs = read_pairs(node, STAGE.keys["matrix"].shape, report)
    if pairs is None:
        return []
    axes: dict[str, list[Node]] = {}
    sound = True
    for name, (key, values) in pairs.items():
        if name != "exclude":
            sound &= Name("a matrix name").read(key, report) is not BAD
            axes[name] = _values(values, report)
            sound &= bool(axes[name])
    if not axes:
        report.add(node, "bad-value", "the matrix has no values", "write names with lists: {python: [3.11, 3.12]}")
    if not axes or not sound:
        return []
    count = prod(len(values) for values in axes.values())
    if count > MAX_COMBINATIONS:
        sizes = " x ".join(str(len(values)) for values in axes.values())
        message = f"the matrix has {sizes} = {count:,} combinations, at most {MAX_COMBINATIONS} are allowed"
        report.add(node, "matrix-explosion", message, "split the stage, or drop values")
        return []
    excluded = _excluded(pairs["exclude"][1], axes, report) if "exclude" in pairs else []
    found = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    kept = [one for one in found if not any(_matches(one, texts) for texts in excluded)]
    if not kept:
        report.add(node, "bad-value", "every combination of the matrix is excluded")
    return kept


def _values(node: Node, report: Report) -> list[Node]:
    if node.kind != "list" or not node.items:
        report.add(node, "wrong-type", f"expected a list of values, found {_found(node)}")
        return []
    seen: dict[str, Node] = {}
    for item in node.items:
        if item.kind != "scalar" or item.value is None:
            report.add(item, "wrong-type", f"expected text, a number, true or false, found {item.described}")
        elif not _VALUE.fullmatch(item.text):
            message = f"the matrix value {shown(item.text)} cannot be part of a stage's name"
            report.add(item, "bad-value", message, "use letters, digits and - _ . : / @ + = ~ ^ %, at most 100")
        elif item.text in seen:
            report.add(item, "duplicate", f"the matrix value {shown(item.text)} stands here twice")
        else:
            seen[item.text] = item
    return list(seen.values()) if len(seen) == len(node.items) else []


def _found(node: Node) -> str:
    return "an empty list" if node.kind == "list" else node.described


def _excluded(node: Node, axes: dict[str, list[Node]], report: Report) -> list[dict[str, str]]:
    if node.kind != "list":
        report.add(node, "wrong-type", f"expected a list of combinations, found {node.described}")
        return []
    if len(node.items) > MAX_COMBINATIONS:
        message = f"{len(node.items):,} combinations are excluded, at most {MAX_COMBINATIONS} can be"
        report.add(node, "matrix-explosion", message, "name what several have in common")
        return []
    found = []
    for item in node.items:
        pairs = read_pairs(item, STAGE.keys["matrix"].shape, report) or {}
        texts = {}
        for name, (key, value) in pairs.items():
            if name not in axes:
                report.unknown(key, "unknown-key", "matrix name", name, axes)
            elif value.text not in {known.text for known in axes[name]}:
                report.unknown(value, "bad-value", f"value of {name}", value.text, [v.text for v in axes[name]])
            else:
                texts[name] = value.text
        if texts and len(texts) == len(pairs):
            found.append(texts)
        elif not pairs and item.kind == "map":
            report.add(item, "bad-value", "an empty combination excludes nothing")
    return found


def _matches(combination: Combination, texts: dict[str, str]) -> bool:
    return all(combination[name].text == text for name, text in texts.items())
