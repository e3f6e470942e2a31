"""Outputs that a Workflow keeps for all of its tasks (`globalName`), and who takes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .calls import Call, call
from .expand import tasks_of
from .inputs import WHAT, scalars
from .reading import Document, Template, items, text
from .resolve import Library

_TAKEN = re.compile(r"workflow\.outputs\.(parameters|artifacts)(?:\.|\[\s*['\"])([A-Za-z0-9_-]+)")

Exported = tuple[str, str]  # what it is, and its name


def taken_from_others(one: Call, scope: Document, library: Library) -> list[str]:
    """The names that the templates behind a call take and that none of them gives."""
    given: set[Exported] = set()
    taken: dict[Exported, None] = {}
    for template in _behind(one, scope, library):
        given |= _given(template)
        for scalar in scalars(template.node):
            taken |= {(found[1], found[2]): None for found in _TAKEN.finditer(scalar.text)}
    return [name for what, name in taken if (what, name) not in given]


def _behind(one: Call, scope: Document, library: Library) -> Iterator[Template]:
    """What it calls, and all that is called in there, each once."""
    known: set[Template] = set()
    waiting = [(one, scope), *((hook.call, scope) for hook in one.hooks())]
    while waiting:
        found = library.of(*waiting.pop()).template
        if found is None or found in known:
            continue
        known.add(found)
        yield found
        waiting += [(each, found.document) for each in _calls(found)]


def _calls(template: Template) -> list[Call]:
    nodes = [step for group in items(template.node, "steps") for step in group.items]
    calls = [call(node) for node in (tasks_of(template).values() if template.does == "dag" else nodes)]
    return [*calls, *(hook.call for one in calls for hook in one.hooks())]


def _given(template: Template) -> set[Exported]:
    outputs = template.node.get("outputs")
    return {(what, name) for what in WHAT for item in items(outputs, what) if (name := text(item, "globalName"))}
