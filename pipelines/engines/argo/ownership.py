"""The file beside a workflow that says which team owns what of it, and who is asked before what.

    default: dev
    owners:
      - {team: platform, template: "library/*"}
      - {team: ops, task: main/rollout}
    gates:
      - {before: main/rollout, gate: ops}
      - {before: main/migrate, gate: {teams: {ops: 2}, reason_required: true}}

A pattern is a path, in which `*` stands for anything within one name and `**` for any number of names. What matches
last counts.
Who owns a dag or steps owns what is inside, unless an entry says otherwise of that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from pipelines.definition.containers import Key, ListOf, OneOf, Record
from pipelines.definition.durations import parse_duration
from pipelines.definition.loader import Node, load
from pipelines.definition.model import Gate, GateTeam
from pipelines.definition.report import Report, shown
from pipelines.definition.schema import GATE
from pipelines.definition.shapes import BAD, Name, Text

from .model import Graph, Task

MAX_ENTRIES = 500
_PATTERN = Text("a pattern", maximum=300)
_OWNER = Record(
    "an owner",
    {
        "team": Key(Name("a team"), "The team.", required=True),
        "template": Key(_PATTERN, "Templates: NAME of the workflow itself, DOCUMENT/NAME of others."),
        "task": Key(_PATTERN, "Tasks, by their path from the entrypoint."),
        "workflow": Key(_PATTERN, "Only in workflows of this name."),
    },
)
_GATE = Record(
    "a gate before tasks",
    {
        "before": Key(_PATTERN, "Tasks, by their path from the entrypoint.", required=True),
        "gate": Key(OneOf(scalar=Name("a team"), map=GATE), "Who approves, as in a pipeline file.", required=True),
        "workflow": Key(_PATTERN, "Only in workflows of this name."),
    },
)
FILE = Record(
    "an ownership file",
    {
        "default": Key(Name("a team"), "Who owns what no entry names."),
        "owners": Key(ListOf(_OWNER, maximum=MAX_ENTRIES), "Which team owns which templates and tasks."),
        "gates": Key(ListOf(_GATE, maximum=MAX_ENTRIES), "Who is asked before which tasks."),
    },
)


@dataclass(eq=False, slots=True)
class _Entry:
    """`by` is "template" or "task"; `used` says that it matched something."""

    node: Node
    by: str
    pattern: str
    workflow: str
    team: str = ""
    gate: Gate | None = None
    used: bool = False

    def matches(self, task: Task, graph: Graph) -> bool:
        if self.workflow and not _matches(self.workflow, graph.name.removesuffix("-")):
            return False
        found = _matches(self.pattern, task.template if self.by == "template" else task.path)
        self.used = self.used or found
        return found


@dataclass(frozen=True, slots=True)
class Assigned:
    """Of one graph, by position: the team of each task ("" where nobody owns it), and the gates before tasks."""

    teams: Mapping[int, str] = field(default_factory=dict)
    gates: Mapping[int, Gate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """An ownership file that was read."""

    default: str = ""
    owners: Sequence[_Entry] = ()
    gates: Sequence[_Entry] = ()

    def under(self, over: Rules) -> Rules:
        """These, with others that win over them."""
        return Rules(self.default or over.default, [*self.owners, *over.owners], [*self.gates, *over.gates])


def read_rules(text: bytes | str, report: Report, teams: Collection[str] | None = None) -> Rules | None:
    """The file, None if it cannot be read. What is wrong is reported; `teams` are those that exist, None unchecked."""
    root = load(text, report)
    fields = FILE.fields(root, report) if root is not None else None
    if fields is None:
        return None
    values = {key: FILE.keys[key].shape.read(node, report) for key, node in fields.items()}
    default = values.get("default", BAD)
    if "default" in fields and default is not BAD:
        _check_team(fields["default"], teams, report)
    owners = [_owner(node, teams, report) for node in _entries(fields.get("owners"))]
    gates = [_gate(node, teams, report) for node in _entries(fields.get("gates"))]
    return Rules(
        default if isinstance(default, str) else "",
        [one for one in owners if one is not None],
        [one for one in gates if one is not None],
    )


def assign(graph: Graph, rules: Rules) -> Assigned:
    """Whose each task is, and the gates."""
    teams: dict[int, str] = {}
    gates: dict[int, Gate] = {}
    for task in graph.tasks:
        named = [entry.team for entry in rules.owners if entry.matches(task, graph)]
        above = teams.get(task.within, "") if task.within is not None else ""
        teams[task.position] = named[-1] if named else above or rules.default
        asked = [entry.gate for entry in rules.gates if entry.matches(task, graph) and entry.gate]
        if asked:
            gates[task.position] = asked[-1]
    return Assigned(teams, gates)


def check_used(rules: Rules, graphs: Sequence[Graph], assigned: Sequence[Assigned], report: Report) -> None:
    """Report entries that match nothing, tasks that nobody owns, and gates where none can be. After `assign`."""
    # Who owns what cannot be judged by a file that does not say what it means.
    readable = not report
    paths = {task.path for graph in graphs for task in graph.tasks}
    templates = {task.template for graph in graphs for task in graph.tasks if task.template}
    for entry in (*rules.owners, *rules.gates):
        if not entry.used and graphs:
            what, known = ("template", templates) if entry.by == "template" else ("task", paths)
            place = entry.node.get("before" if entry.gate else entry.by) or entry.node
            near = report.nearest(entry.pattern, known)
            report.add(place, "matches-nothing", f"no {what} matches {shown(entry.pattern)}", near)
    for graph, one in zip(graphs, assigned, strict=True):
        _check_gates(rules, graph, one, report)
        lost = [task.path for task in graph.tasks if not one.teams.get(task.position)]
        if lost and readable:
            some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            message = f"nobody owns {some} in {graph.title}"
            report.add((1, 1), "no-owner", message, 'add entries, or "default: TEAM"')


def _check_gates(rules: Rules, graph: Graph, one: Assigned, report: Report) -> None:
    for position, gate in one.gates.items():
        task = graph.tasks[position]
        entry = next(entry for entry in rules.gates if entry.gate is gate)
        place = entry.node.get("before") or entry.node
        if task.on_exit:
            message = f"{task.path} runs at the end, however the others ended, so nobody can be asked before it"
            report.add(place, "bad-gate", message, "drop the gate")
        elif task.role:
            message = f"{task.path} is a hook, which the controller starts by itself, so nobody can be asked before it"
            report.add(place, "bad-gate", message, "put the gate before the task that has the hook")


def _entries(node: Node | None) -> list[Node]:
    return (
        [item for item in node.items[:MAX_ENTRIES] if item.kind == "map"]
        if node is not None and node.kind == "list"
        else []
    )


def _owner(node: Node, teams: Collection[str] | None, report: Report) -> _Entry | None:
    ways = [key for key in ("template", "task") if node.get(key) is not None]
    if len(ways) != 1:
        what = "both template and task" if ways else "neither template nor task"
        report.add(node, "bad-value", f"an owner names templates or tasks, and this one has {what}", "name one of them")
        return None
    team = node.get("team")
    if team is None or Name().read(team, Report()) is BAD:
        return None
    _check_team(team, teams, report)
    return _Entry(node, ways[0], _text(node, ways[0]), _text(node, "workflow"), team.text)


def _gate(node: Node, teams: Collection[str] | None, report: Report) -> _Entry | None:
    asked = node.get("gate")
    # What is wrong with its form has been reported when the whole file was read.
    if asked is None or _GATE.keys["gate"].shape.read(asked, Report()) is BAD or not _text(node, "before"):
        return None
    return _Entry(node, "task", _text(node, "before"), _text(node, "workflow"), gate=_asks(asked, teams, report))


def _asks(node: Node, teams: Collection[str] | None, report: Report) -> Gate:
    if node.kind == "scalar":
        _check_team(node, teams, report)
        return Gate((GateTeam(node.text),))
    value: dict[str, Any] = GATE.read(node, Report())
    wanted = value.get("teams", ())
    listed = node.get("teams")
    for item in listed.items if listed is not None else ():
        _check_team(item if isinstance(item, Node) else item[0], teams, report)
    quorums = wanted if isinstance(wanted, dict) else dict.fromkeys(wanted, 1)
    return Gate(
        tuple(GateTeam(team, quorum) for team, quorum in quorums.items()),
        self_approval=value.get("self_approval", False),
        reason_required=value.get("reason_required", False),
        expires=parse_duration(value["expires"]) if "expires" in value else None,
    )


def _check_team(node: Node, teams: Collection[str] | None, report: Report) -> None:
    if teams is not None and node.kind == "scalar" and node.text not in teams:
        report.unknown(node, "unknown-team", "team", node.text, teams)


def _text(node: Node, key: str) -> str:
    found = node.get(key)
    return found.text if found is not None and found.kind == "scalar" else ""


def _matches(pattern: str, path: str) -> bool:
    """Name by name, so that no pattern takes long."""
    if "*" not in pattern:
        return pattern == path
    wanted, least = _wanted(pattern)
    if least > path.count("/") + 1:
        return False
    # Positions in the pattern that the names so far lead to.
    here = _skipped(wanted, {0})
    for name in path.split("/"):
        ahead = {at if wanted[at] == "**" else at + 1 for at in here if at < len(wanted) and _fits(wanted[at], name)}
        here = _skipped(wanted, ahead)
    return len(wanted) in here


@lru_cache(maxsize=2 * MAX_ENTRIES)
def _wanted(pattern: str) -> tuple[tuple[str, ...], int]:
    """The names of a pattern, several `**` in a row being one, and how many names a path has at least."""
    names = pattern.split("/")
    kept = tuple(name for at, name in enumerate(names) if name != "**" or names[at - 1 : at] != ["**"])
    return kept, len(kept) - kept.count("**")


def _skipped(wanted: Sequence[str], here: set[int]) -> set[int]:
    """And behind each `**`, which may stand for no name at all."""
    for at in sorted(here):
        while at < len(wanted) and wanted[at] == "**":
            at += 1
            here.add(at)
    return here


@lru_cache(maxsize=1 << 16)
def _fits(wanted: str, name: str) -> bool:
    return wanted == "**" or fnmatchcase(name, wanted)
