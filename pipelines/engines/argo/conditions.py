"""`depends` and `when` of a stage in Argo's words.

Where Argo has no words for something, what is said here is true more often: the pod then asks the portal, which knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.definition.depends import Asked, parse_depends
from pipelines.definition.grammar import All, Not, Tree

_FAILED = ("Failed", "Errored")
# What a result of the file is in Argo, of which one has to be true.
_RESULTS: Mapping[str, tuple[str, ...]] = {
    "": ("",),
    "Succeeded": ("Succeeded",),
    "Failed": _FAILED,
    "Errored": _FAILED,
    "Canceled": _FAILED,
    "Rejected": _FAILED,
    "Daemoned": ("Daemoned",),
}
_ENDED = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted")

_WORDS = re.compile(
    r"\s+|(?P<operator>&&|\|\||==|!=|!|\(|\))|(?P<text>'[^'{}\\]*'|\"[^\"'{}\\]*\")"
    r"|(?P<name>(?:parameters|run)\.[A-Za-z_][\w-]*)(?![\w.-])"
)
# What ends no text between quotes and is filled in by nobody.
_HARMLESS = re.compile(r"[^'\"\\{}\x00-\x1f\x7f]*")


def depends_of(stage: Mapping[str, Any], tasks: Mapping[str, Sequence[str]]) -> str:
    """The `depends` of a stage's task. `tasks` are those of the same DAG, by the names that the file gave them; what a
    stage needs beside them has ended already."""
    if not stage["depends"]:
        return ""
    expression = parse_depends(stage["depends"])
    known = [name for name in expression.names if name in tasks]
    if len(known) == len(expression.names) and _is_plain(expression.tree):
        return _said(expression.tree, tasks)
    return " && ".join(_any_of(task, _ENDED) for name in known for task in tasks[name])


def _is_plain(tree: Tree[Asked]) -> bool:
    if isinstance(tree, Asked):
        return tree.result in _RESULTS
    return not isinstance(tree, Not) and all(_is_plain(part) for part in tree.of)


def _said(tree: Tree[Asked], tasks: Mapping[str, Sequence[str]]) -> str:
    if isinstance(tree, Asked):
        wanted = _RESULTS[tree.result]
        # One combination that failed fails its group; a group has succeeded only with all of them.
        between = " || " if wanted is _FAILED else " && "
        said = [_any_of(task, wanted) for task in tasks[tree.name]]
        return said[0] if len(said) == 1 else f"({between.join(said)})"
    assert not isinstance(tree, Not)  # noqa: S101 - _is_plain has looked
    between = " && " if isinstance(tree, All) else " || "
    return "(" + between.join(_said(part, tasks) for part in tree.of) + ")"


def _any_of(task: str, results: Sequence[str]) -> str:
    said = [f"{task}.{result}" if result else task for result in results]
    return said[0] if len(said) == 1 else f"({' || '.join(said)})"


def when_of(condition: str, values: Mapping[str, str]) -> str:
    """The `when` of a stage's task, "" where Argo cannot judge it: comparisons of parameters and facts of the run with
    texts. `values` are those of the Workflow's parameters: Argo puts them into the text before it reads it."""
    said: list[str] = []
    position, compared = 0, 0
    while position < len(condition):
        match = _WORDS.match(condition, position)
        if match is None:
            return ""
        position = match.end()
        if name := match["name"]:
            scope, _, key = name.partition(".")
            parameter = f"{'p' if scope == 'parameters' else 'run'}-{key}"
            if not _HARMLESS.fullmatch(values.get(parameter, "")):
                return ""
            said.append(f"'{{{{workflow.parameters.{parameter}}}}}'")
            compared += 1
        elif text := match["text"]:
            said.append(f"'{text[1:-1]}'")
            compared += 1
        elif operator := match["operator"]:
            said.append(operator)
    # A name by itself asks whether it is set, for which Argo has no word.
    return " ".join(said) if compared == 2 * sum(word in ("==", "!=") for word in said) else ""
