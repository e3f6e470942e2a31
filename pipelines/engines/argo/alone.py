"""Whether the tasks of a Workflow can be submitted one by one, each as a Workflow of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from pipelines.definition.depends import parse_depends
from pipelines.definition.grammar import ExpressionError

from .calls import Call, call, hooks_of
from .expand import in_order, tasks_of
from .exported import taken_from_others
from .inputs import scalars
from .reading import Document, Template, items, text
from .resolve import Library

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
RESERVED = ("checkout",)  # the stage that fetches the commit
_TAKEN = re.compile(r"\{\{\s*(?:tasks|steps)\.(?P<task>[A-Za-z0-9][A-Za-z0-9_-]*)\.(?P<what>[A-Za-z.]+)")
_FACT = re.compile(
    r"\{\{\s*workflow\.(?!parameters\b|namespace\b|serviceAccountName\b|creationTimestamp\b)([A-Za-z.]+)"
)
_KEPT = ("outputs.parameters", "outputs.result")  # of a stage, for those behind it


def calls_of(entry: Template) -> list[Call]:
    """The tasks or steps of a template, each behind what it depends on."""
    if entry.does == "dag":
        named = tasks_of(entry)
        return [call(named[name]) for name in in_order(named)]
    return [call(step) for group in items(entry.node, "steps") for step in group.items]


def why_whole(document: Document, library: Library, entry: Template) -> str:
    """Why they cannot, in words that follow "because"; "" if they can."""
    if entry.does not in ("dag", "steps"):
        return f"its entrypoint {entry.name} is one {entry.does or 'template'}"
    if document.spec.get("volumeClaimTemplates") is not None:
        return "its tasks share volumes that each Workflow makes anew (volumeClaimTemplates)"
    if items(entry.node.get("inputs"), "artifacts"):
        return f"its entrypoint {entry.name} takes artifacts"
    if target := text(entry.body, "target"):
        return f"its dag has a target, {target}"
    calls = calls_of(entry)
    conditional = {one.name for one in calls if one.when}
    gates = {one.name for one in calls if becomes_gate(library.of(one, entry.document).template)}
    for one in calls:
        if why := _why_not(one, entry, library, gates) or _why_no_logic(one, conditional):
            return f"{why} (line {one.node.line})"
    for hook in hooks_of(document.spec):
        if why := _why_no_outputs(hook.call, document, library):
            return f"{why} (line {hook.call.node.line})"
    return ""


def becomes_gate(template: Template | None) -> bool:
    """Whether it waits until somebody says that it may go on, which is what a gate does."""
    return template is not None and template.does == "suspend" and not text(template.body, "duration")


def _why_not(one: Call, entry: Template, library: Library, gates: Collection[str]) -> str:
    found = library.of(one, entry.document).template
    if found is not None and text(found.node, "daemon").lower() == "true":
        return f"{one.name} is a daemon, which ends with the Workflow that it belongs to"
    if not NAME.fullmatch(one.name) or one.name in RESERVED:
        return f"{one.name!r} can be no stage's name"
    if any(text(item, "from") for item in items(one.node.get("arguments"), "artifacts")):
        return f"{one.name} is handed files by another task, which only one Workflow can do"
    for scalar in scalars(one.node):
        if "{{=" in scalar.text:
            return f"{one.name} has an expression ({{{{=...}}}}) that only Argo can work out"
        for taken in _TAKEN.finditer(scalar.text):
            if not taken["what"].startswith(_KEPT):
                return f"{one.name} takes {taken['what']} of {taken['task']}, which a stage does not keep"
            if taken["task"] in gates:
                return f"{one.name} takes {taken['what']} of {taken['task']}, a gate, which has no values"
        if fact := _FACT.search(scalar.text):
            return f"{one.name} asks for workflow.{fact[1]}, which each stage's Workflow has for itself"
    return _why_no_outputs(one, entry.document, library)


def _why_no_outputs(one: Call, scope: Document, library: Library) -> str:
    if taken := taken_from_others(one, scope, library):
        return f"{one.name} takes {', '.join(taken)} of the Workflow's outputs, which another task gives (globalName)"
    return ""


def _why_no_logic(one: Call, conditional: Collection[str]) -> str:
    """A task that Argo skips is a stage that succeeds, so nobody may depend on its being skipped."""
    depends = text(one.node, "depends")
    try:
        asked = parse_depends(depends).asked if depends.strip() else ()
    except ExpressionError as error:
        return f"what {one.name} depends on cannot be read: {error}"
    for each in asked:
        if each.result == "Daemoned" or (each.result in ("Skipped", "Succeeded") and each.name in conditional):
            return f"{one.name} depends on {each}, and a stage whose task Argo skips has succeeded"
    return ""
