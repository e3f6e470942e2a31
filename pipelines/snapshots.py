"""From rows to the plain snapshot that `dag.decide` reads. What never changes about a run is kept in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from django.db.models import Q

from . import dag
from .definition.depends import compile_depends
from .definition.ownership import OWNERSHIP_STAGE
from .definition.when import evaluate_when, parse_when
from .freezes import frozen_until
from .models import Environment, Run, Stage
from .states import ENDED, Reason, State
from .votes import approvals_by_team

FIELDS = (
    "id", "state", "reason_code", "plan_digest", "due_at", "freeze_override", "attempts_made", "artifacts",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """The part of a stage that changes, as `FIELDS` orders it."""

    id: int
    state: str
    reason_code: str
    plan_digest: str
    due_at: datetime | None
    freeze_override: str
    attempts_made: int
    artifacts: list[dict[str, Any]]
    # Read for those alone of which they are asked.
    progress: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(slots=True)
class Loaded:
    """A run under its lock, with everything that one `advance` needs."""

    run: Run
    graph: dag.Graph
    definitions: tuple[dict[str, Any], ...]
    rows: list[Row]
    environments: dict[str, Environment]
    snapshot: dag.Snapshot
    window_ends: dict[str, datetime]


def graph_of(run: Run) -> tuple[dag.Graph, tuple[dict[str, Any], ...]]:
    """The run's graph and the definitions of its stages, by position. They are fixed when the run starts."""
    # A number that was rolled back is given again, so the number alone does not name a run.
    return _graph_of(run.pk, run.created_at)


@dataclass(frozen=True, slots=True)
class Marks:
    """Which positions of a graph have what most have not, so that nobody has to look for them at each step."""

    gated: tuple[int, ...]
    placed: tuple[int, ...]
    conditional: bool


@lru_cache(maxsize=256)
def _marks_of(run: int, created_at: datetime) -> Marks:
    nodes = _graph_of(run, created_at)[0].nodes
    return Marks(
        gated=tuple(i for i, node in enumerate(nodes) if node.gated),
        placed=tuple(i for i, node in enumerate(nodes) if node.environment),
        conditional=any(node.when for node in nodes),
    )


@lru_cache(maxsize=256)
def _graph_of(run: int, created_at: datetime) -> tuple[dag.Graph, tuple[dict[str, Any], ...]]:
    definitions = tuple(Stage.objects.filter(run=run).order_by("position").values_list("definition", flat=True))
    groups: dict[str, list[int]] = {}
    for position, definition in enumerate(definitions):
        groups.setdefault(definition.get("group") or definition["name"], []).append(position)
    nodes = tuple(_node(definition, groups) for definition in definitions)
    return dag.Graph(nodes, dag.leaves(nodes)), definitions


def ancestors(graph: dag.Graph, position: int) -> set[int]:
    """The positions of what a stage needs, directly or through others."""
    found: set[int] = set()
    stack = list(graph.nodes[position].needs)
    while stack:
        one = stack.pop()
        if one not in found:
            found.add(one)
            stack.extend(graph.nodes[one].needs)
    return found


def _node(definition: dict[str, Any], groups: dict[str, list[int]]) -> dag.Node:
    named = {name: tuple(groups.get(name, ())) for name in definition["needs"]}
    plain = definition["depends"] == " && ".join(definition["needs"])
    when = definition.get("when")
    return dag.Node(
        name=definition["name"],
        needs=tuple(position for members in named.values() for position in members),
        depends=None if plain else compile_depends(definition["depends"]),
        groups={} if plain else named,
        when=_condition(when) if when else None,
        gated=definition.get("gate") is not None,
        environment=definition.get("environment"),
        on_exit=definition.get("on_exit", False),
        barrier=definition["name"] == OWNERSHIP_STAGE,
    )


def _condition(text: str) -> dag.When:
    parsed = parse_when(text)
    return lambda context: evaluate_when(parsed, context)


class Unwritten(Protocol):
    """What has changed about stages and is not in the database yet."""

    def changed(self) -> Collection[int]:
        """The keys of the stages."""

    def show(self, stage: int, row: object) -> None:
        """Give `row` what has changed about the stage."""


def load(run: Run, now: datetime, unwritten: Unwritten, rows: list[Row] | None = None) -> Loaded:
    """Read the run's stages, unless `rows` has them, and what they wait for. `run` must be locked."""
    graph, definitions = graph_of(run)
    marks = _marks_of(run.pk, run.created_at)
    rows = rows or [Row(*values) for values in Stage.objects.filter(run=run).order_by("position").values_list(*FIELDS)]
    changed = unwritten.changed()
    for row in rows:
        if row.id in changed:
            unwritten.show(row.id, row)
    coded = {i: row for i, row in enumerate(rows) if row.reason_code}
    _read("progress", [row for row in coded.values() if row.reason_code == Reason.APPROVAL and row.progress is None])
    held_up = {i: row for i, row in coded.items() if row.reason_code in (Reason.LOCK, Reason.WINDOW)}
    _read("reason", [row for row in held_up.values() if row.reason is None])
    environments = _environments(run, graph, rows, marks)
    frozen, ends = _frozen(environments, now)
    snapshot = dag.Snapshot(
        graph=graph,
        states=[row.state for row in rows],
        reasons=[row.reason_code for row in rows],
        planned=[bool(row.plan_digest) for row in rows],
        approved=_approved(definitions, rows, marks),
        locks={name: _lock(run, environment) for name, environment in environments.items()},
        frozen=frozen,
        exempt=_exempt(run, rows, marks),
        begun=frozenset(i for i, row in coded.items() if has_begun(row)),
        said={i: row.reason or "" for i, row in held_up.items()},
        context=_context(run, graph, rows) if marks.conditional else {},
        stopping=run.stopping,
    )
    return Loaded(run, graph, definitions, rows, environments, snapshot, ends)


def _read(field: str, rows: list[Row]) -> None:
    if rows:
        found = dict(Stage.objects.filter(pk__in=[row.id for row in rows]).values_list("pk", field))
        for row in rows:
            setattr(row, field, found[row.id])


def has_begun(row: Row) -> bool:
    """Whether it has an attempt that waits without a worker, which has to be stopped and not just forgotten."""
    if row.state == State.QUEUED:
        return row.reason_code in ("resume", "engine", "stop")
    if row.state == State.WAITING:
        return "question" in (row.progress or ()) or row.reason_code == Reason.ENGINE
    return row.state == State.UNKNOWN and row.reason_code == "person"


def _environments(run: Run, graph: dag.Graph, rows: list[Row], marks: Marks) -> dict[str, Environment]:
    if not marks.placed:
        return {}
    open_ones = {graph.nodes[i].environment for i in marks.placed if rows[i].state not in ENDED}
    found = Environment.objects.filter(pipeline=run.pipeline_id).filter(Q(name__in=open_ones) | Q(holder=run))
    return {environment.name: environment for environment in found.select_related("holder")}


def held_by(number: int, environment: str) -> str:
    """What a stage says while run `number` has the lock that it waits for."""
    return f"run #{number} is changing {environment}"


def _lock(run: Run, environment: Environment) -> dag.Lock:
    if environment.holder_id == run.pk:
        return dag.Lock(ours=True)
    if environment.holder is not None:
        return dag.Lock(held_by=held_by(environment.holder.number, environment.name))
    if run.trigger == "rollback":
        return dag.Lock()  # nobody is before it
    older = (
        Stage.objects.filter(
            run__pipeline=run.pipeline_id,
            run__number__lt=run.number,
            environment=environment.name,
            state=State.WAITING,
            reason_code=Reason.LOCK,
        )
        .values_list("run__number", flat=True)
        .first()
    )
    return dag.Lock(held_by=f"run #{older} asked for {environment.name} first" if older else "")


def _frozen(environments: dict[str, Environment], now: datetime) -> tuple[dict[str, str], dict[str, datetime]]:
    frozen, ends = {}, {}
    for name, environment in environments.items():
        if hit := frozen_until(environment.freeze, now):
            ends[name] = hit.until
            frozen[name] = f"{name} is frozen until {hit.until:%Y-%m-%d %H:%M %Z}: {hit.reason}"
    return frozen, ends


def _exempt(run: Run, rows: list[Row], marks: Marks) -> frozenset[int]:
    return frozenset(i for i in marks.placed if run.trigger == "rollback" or rows[i].freeze_override)


def _approved(definitions: tuple[dict[str, Any], ...], rows: list[Row], marks: Marks) -> list[bool]:
    gated = [rows[i] for i in marks.gated]
    asked = {row.id: row.plan_digest for row in gated if row.plan_digest and row.state not in ENDED}
    opened = [row.id for row in gated if row.id in asked and row.reason_code != Reason.APPROVAL]
    counts = approvals_by_team(asked, opened)
    approved = [True] * len(rows)
    for i, row in zip(marks.gated, gated, strict=True):
        approved[i] = row.id in asked and quorum_met(definitions[i]["gate"], counts.get(row.id, {}))
    return approved


def quorum_met(gate: dict[str, Any], people: dict[str, int]) -> bool:
    """Whether every team of the gate has as many approvals as its quorum asks for."""
    return all(people.get(team["team"], 0) >= team["quorum"] for team in gate["teams"])


def _context(run: Run, graph: dag.Graph, rows: list[Row]) -> dict[str, Any]:
    """What a `when` condition may look at."""
    return {
        "parameters": run.parameters,
        "run": {
            "commit": run.commit,
            "ref": run.ref,
            "branch": run.branch,
            "tag": run.tag,
            "trigger": run.trigger,
            "number": run.number,
        },
        "stages": {node.name: {"state": row.state} for node, row in zip(graph.nodes, rows, strict=True)},
    }
