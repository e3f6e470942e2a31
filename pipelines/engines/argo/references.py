"""`{{tasks.X...}}` and `{{steps.X...}}`: whether X is there, and runs before whoever asks for what it gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown

from .calls import call
from .expand import in_order
from .inputs import scalars

_REFERENCE = re.compile(r"\b(tasks|steps)\.([A-Za-z0-9][A-Za-z0-9-]*)\.")
_ASKS = ("arguments", "when", "withItems", "withParam", "withSequence", "hooks")


def check_dag(named: Mapping[str, Node], report: Report) -> None:
    """All tasks of a dag, by name."""
    bit = {name: 1 << number for number, name in enumerate(named)}
    before: dict[str, int] = {}
    for name in in_order(named):
        before[name] = bit[name]
        for one in call(named[name]).dependencies:
            before[name] |= before.get(one, 0)
        check(named[name], "tasks", partial(_has_run, bit, before[name]), named, report)


def _has_run(bit: Mapping[str, int], ran: int, name: str) -> bool:
    return bool(bit.get(name, 0) & ran)


def check(node: Node, what: str, ran: Callable[[str], bool], known: Collection[str], report: Report) -> None:
    """One task or step: `what` is "tasks" or "steps", `known` are all beside it, `ran` says which have run before."""
    for key in _ASKS:
        for scalar in scalars(node.get(key)):
            for found in _in_braces(scalar.text):
                if found[1] == what and not ran(found[2]):
                    _report(scalar.at(found.start(2)), what.removesuffix("s"), found[2], known, report)


def _report(at: tuple[int, int], single: str, name: str, known: Collection[str], report: Report) -> None:
    if name not in known:
        report.unknown(at, f"unknown-{single}", single, name, known)
    else:
        message = f"this asks for what the {single} {shown(name)} gives, which does not run before"
        report.add(at, "missing-dependency", message, f"let it depend on {name}")


def _in_braces(text: str) -> Iterator[re.Match[str]]:
    end = 0
    while (begin := text.find("{{", end)) >= 0 and (end := text.find("}}", begin)) >= 0:
        yield from _REFERENCE.finditer(text, begin, end)
