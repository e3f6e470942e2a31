"""Writes docs/argo-conformance.md: what becomes of each of Argo's own examples. `python -m
tests.engines.argo.conformance` writes it anew by what is known; `make argo-conformance` runs the examples before.

How each ran is kept in conformance.json beside this file: by the example's name, its `phase`, how many `nodes` it had,
and whether they were the `same` as without the portal.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.definition.loader import load_all
from pipelines.definition.parse import parse
from pipelines.definition.report import Report
from pipelines.engines.argo.adopt import AdoptError
from pipelines.engines.argo.convert import Wish, convert_files
from pipelines.engines.argo.importing import Imported, import_files
from pipelines.engines.argo.model import Graph
from pipelines.engines.argo.reading import Source
from tests.docs.pages import ROOT

from .examples import MODULE, NotHere, sources, why_not_run

PAGE = ROOT / "docs" / "argo-conformance.md"
RUNS = Path(__file__).with_name("conformance.json")
Runs = Mapping[str, Mapping[str, Any]]
_KINDS = ("dag", "steps", "containerSet", "script", "resource", "http", "data", "suspend")
_KEYS = (
    "daemon", "inline", "depends", "dependencies", "when", "withItems", "withParam", "withSequence", "templateRef",
    "workflowTemplateRef",
    "hooks", "onExit", "continueOn", "failFast", "retryStrategy", "timeout", "activeDeadlineSeconds",
    "synchronization", "parallelism", "memoize", "sidecars", "initContainers", "volumes", "volumeClaimTemplates",
    "artifacts", "metrics", "podGC", "ttlStrategy", "templateDefaults", "podSpecPatch", "podMetadata",
    "nodeSelector", "podDisruptionBudget", "configMapKeyRef", "secretKeyRef", "schedules",
)  # fmt: skip
_WHOLE = "All of it is one stage, because "
HEAD = """\
# Argo's own examples

What becomes of each of the {all} examples that come with the controller ({module}): {drawn} are
drawn, and {refused} are refused, as they are no workflows. {converted} become a pipeline file. {run} were run on a real
controller, twice: as they are submitted to it directly, and [by the portal](argo.md#under-ownership), in another
namespace under the same name. Of {same} all nodes, by their ids, ended in the same phases, and the portal's run ended
alike. {left} were not run, for what they need besides a cluster{pending}.

Their images were replaced by a local one, in which chance falls out the same for pods of one name. What an example says
has to be there (a ConfigMap, a Secret, a volume, templates, rights of its account) was made before. Who stands at a
suspend template approves it, with the values that it asks for.

`make argo-conformance` runs them and writes this page; the tests hold it to what is drawn and converted today.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One example; `refused` and `left` are reasons, "" where it is drawn, or was run."""

    name: str
    features: tuple[str, ...]
    tasks: int
    unknown: int
    refused: str
    converted: str
    left: str
    run: Mapping[str, Any] | None

    def cells(self) -> tuple[str, ...]:
        if self.refused:
            return f"`{self.name}`", "", f"refused: {self.refused}", "", ""
        drawn = f"drawn, {_count(self.tasks, 'task')}"
        drawn += f", {self.unknown} known in full once it runs" if self.unknown else ""
        return f"`{self.name}`", ", ".join(f"`{key}`" for key in self.features), drawn, self.converted, self._ran()

    def _ran(self) -> str:
        if self.run is None:
            return f"not run: {self.left}" if self.left else "not run yet"
        if self.run["phase"] == "Refused":
            return "refused by the cluster, " + ("either way" if self.run["same"] else "NOT the same")
        nodes = _count(self.run["nodes"], "node")
        return f"{self.run['phase']}, {nodes}, " + ("the same" if self.run["same"] else "NOT the same")


def rows_of(given: Sequence[Source], runs: Runs) -> list[Row]:
    drawn = import_files(given)
    graphs: dict[str, list[Graph]] = {}
    for graph in drawn.graphs:
        graphs.setdefault(graph.file, []).append(graph)
    lent = [one for one in given if one.name in graphs and all(_lends(graph) for graph in graphs[one.name])]
    return [_row(one, graphs.get(one.name, []), drawn, lent, runs) for one in given]


def page(given: Sequence[Source], runs: Runs) -> str:
    rows = rows_of(given, runs)
    drawn = [row for row in rows if not row.refused]
    ran = [row for row in drawn if row.run]
    pending = sum(not row.run and not row.left for row in drawn)
    head = HEAD.format(
        all=len(rows), module=f"Argo Workflows {MODULE.rpartition('@v')[2]}", drawn=len(drawn),
        refused=len(rows) - len(drawn), converted=sum("stage" in row.converted for row in drawn), run=len(ran),
        same=sum(bool(row.run and row.run["same"]) for row in ran), left=len(drawn) - len(ran) - pending,
        pending=f"; {pending} more need nothing else, and were not run yet" if pending else "",
    )  # fmt: skip
    return f"{head}\n## By feature\n\n{_by_feature(drawn)}\n## By example\n\n{_by_example(rows)}"


def _by_feature(rows: Sequence[Row]) -> str:
    lines = []
    for key in (*_KINDS, *_KEYS):
        using = [row for row in rows if key in row.features]
        left = Counter(row.left or "not yet" for row in using if row.run is None)
        why = "; ".join(f"{reason} ({number})" for reason, number in left.most_common())
        lines.append((f"`{key}`", str(len(using)), str(sum(row.run is not None for row in using)), why))
    return _table(("feature", "drawn", "run", "not run"), lines)


def _by_example(rows: Sequence[Row]) -> str:
    return _table(("example", "uses", "imported", "as a pipeline file", "run"), [row.cells() for row in rows])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


def _lends(graph: Graph) -> bool:
    return graph.kind in ("WorkflowTemplate", "ClusterWorkflowTemplate")


def _row(source: Source, graphs: Sequence[Graph], drawn: Imported, lent: Sequence[Source], runs: Runs) -> Row:
    if not graphs:
        problem = drawn.problems[source.name][0]
        return Row(source.name, (), 0, 0, f"line {problem.line}: {_cell(problem.message)}", "", "", None)
    return Row(
        source.name, _features(source, graphs), sum(len(graph.tasks) for graph in graphs),
        sum(len(graph.unknown) for graph in graphs), "", _converted(source, graphs, lent),
        why_not_run(source.name, {graph.kind for graph in graphs}), runs.get(source.name),
    )  # fmt: skip


def _features(source: Source, graphs: Sequence[Graph]) -> tuple[str, ...]:
    kinds = {task.does for graph in graphs for task in graph.tasks}
    keys: set[str] = set()
    stack = list(load_all(source.text, Report()))
    while stack:
        node = stack.pop()
        if node.kind == "list":
            stack += node.items
        elif node.kind == "map":
            keys |= {key.text for key, _ in node.items}
            stack += [value for _, value in node.items]
    return (*(key for key in _KINDS if key in kinds), *(key for key in _KEYS if key in keys))


def _converted(source: Source, graphs: Sequence[Graph], lent: Sequence[Source]) -> str:
    if len(graphs) > 1:
        return "one document at a time"
    others = [] if source in lent else lent
    try:
        found = convert_files([source, *others], Wish("argo", source.name, "dev"), document=graphs[0].title)
    except AdoptError as error:
        return f"refused: {_cell(str(error))}"
    definition = parse(found.text.encode()).definition
    if definition is None:
        raise ValueError(f"{source.name} became a pipeline file that has problems:\n{found.text}")
    count = _count(sum(one.kind in ("argo", "gate") for one in definition.stages), "stage")
    whole = next((one.removeprefix(_WHOLE) for one in found.lost if one.startswith(_WHOLE)), "")
    return f"{count}: {_cell(whole.rstrip('.'))}" if whole else count


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def known() -> Runs:
    return dict(json.loads(RUNS.read_text()))


def main() -> int:
    try:
        PAGE.write_text(page(sources(), known()))
    except NotHere as why:
        print(why, file=sys.stderr)
        return 1
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
