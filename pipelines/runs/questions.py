"""What a person is asked, as one digest: the plan of a gate, or why a stage paused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import dag
from ..definition.ownership import OWNERSHIP_STAGE
from ..models import Run, Stage
from ..snapshots import graph_of
from ..states import ACTIVE, ENDED, MIRRORED, RUN_ENDED, State
from .accept import outdated


def question(*, key: str, resumes: int, reason: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Why a stage paused. Its digest is named by the answer, so that an answer fits one pause alone."""
    text = json.dumps([key, resumes, reason, data], sort_keys=True, default=str)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return {"digest": digest, "reason": reason, "data": json.loads(json.dumps(data, default=str))}


def is_paused(stage: Stage) -> bool:
    return "question" in stage.progress


def asked_digest(stage: Stage) -> str:
    """The digest that an approval of this stage has to name now."""
    return stage.progress["question"]["digest"] if is_paused(stage) else stage.plan_digest


def asked_teams(stage: Stage) -> dict[str, int]:
    """The teams that are asked, with their quorums: the owner's for a pause, else the gate's."""
    gate = stage.definition.get("gate")
    if is_paused(stage) or not gate:
        return {stage.owner: 1}
    return {team["team"]: team["quorum"] for team in gate["teams"]}


def trimmed(run: Run) -> str:
    """Why a run of which only the record is left is not taken up again, "" while all of it is there."""
    if run.trimmed_at is None:
        return ""
    return (
        f"The log of this run and what it made were removed on {run.trimmed_at:%Y-%m-%d}, as those of old runs are. "
        "Run its commit again as a new run."
    )


def ordered_elsewhere(run: Run) -> str:
    """Why single stages of this run cannot be done again or skipped, "" if they can."""
    if run.engine != MIRRORED:
        return ""
    return "Argo runs this Workflow as a whole: approve its gates, or cancel it and submit it again."


def only_watched(run: Run) -> str:
    """Why nothing may be decided about a Workflow that somebody submitted with other tools, "" if it may be."""
    if run.engine != MIRRORED or run.adopted.governed:
        return ""
    how = "adopt it first" if run.adopted.adoptable else "connections.yaml does not let anybody adopt it"
    return f"This run only shows what somebody submitted with other tools; {how}."


def obstacles(run: Run, stages: Sequence[Stage]) -> dict[int, str]:
    """What the rest of this run says against doing these of its stages again, as sentences by their keys: others that
    went on from them, needs that are not met, exit stages under way."""
    chosen = [stage for stage in stages if stage.state in ENDED or is_lost(stage)]
    if not chosen:
        return {}
    graph, _ = graph_of(run)
    rows = list(Stage.objects.filter(run=run).order_by("position").values_list("name", "state"))
    exits = (row for node, row in zip(graph.nodes, rows, strict=True) if node.on_exit)
    leaving = why_not_while_leaving(name for name, state in exits if state in ACTIVE)
    went_on = _went_on_from(graph, rows) if any(stage.state in _DONE for stage in chosen) else {}
    found = {}
    for stage in chosen:
        if leaving and not stage.on_exit:
            found[stage.pk] = leaving
        elif stage.state in _DONE and (next_one := went_on.get(stage.position)):
            done = "was skipped" if stage.state == State.SKIPPED else "has succeeded"
            found[stage.pk] = (
                f"Stage {stage.name} {done}, and {next_one} went on from there. Run the commit again as a new run, so "
                "that all of it is done anew."
            )
        elif old := outdated(stage):
            found[stage.pk] = old
        elif unmet := dag.unmet(graph, stage.position, [state for _, state in rows]):
            found[stage.pk] = f"It would only be omitted: {unmet}."
    return found


def why_not_while_leaving(exits: Iterable[str]) -> str:
    """Why nothing but exit stages can be done again while these are under way: they come last. "" if none is."""
    name = next(iter(exits), "")
    return f"{name} is under way, which runs at the end. Wait until the run has ended." if name else ""


_DONE = (State.SUCCEEDED, State.SKIPPED)


def _went_on_from(graph: dag.Graph, rows: Sequence[tuple[str, str]]) -> dict[int, str]:
    """The first stage that has begun behind each, directly or through others: its name by their positions."""
    nearest: dict[int, int] = {}
    for position in range(len(rows) - 1, -1, -1):
        idle = rows[position][1] in (State.PENDING, State.OMITTED)
        first = nearest.get(position) if idle else position
        if first is not None:
            for need in graph.nodes[position].needs:
                nearest[need] = first
    return {position: rows[first][0] for position, first in nearest.items()}


def is_lost(stage: Stage) -> bool:
    """Nobody but a person can find out what became of it."""
    return stage.state == State.UNKNOWN and stage.reason_code == "person"


def exits_go_on(stage: Stage) -> bool:
    """Whether this is an exit stage under way in a run that is being canceled: these go on, so what is said of them
    counts."""
    return stage.on_exit and stage.run.stopping == "cancel" and stage.state not in ENDED


def why_not_taken_up(run: Run) -> str:
    """Why nothing of this run can be done again as it stands, as a sentence; "" if something may be."""
    if elsewhere := ordered_elsewhere(run):
        return elsewhere
    if run.stopping == "terminate":
        return "This run was terminated. Run its commit again as a new run."
    if run.stopping and run.state not in RUN_ENDED:
        return "This run is being canceled. Wait until it has ended."
    if run.superseded_by is not None:
        return f"Run #{run.superseded_by.number} took its place. Run its commit again as a new run."
    return trimmed(run)


def why_not_retried(stage: Stage, obstacle: str) -> str:
    """Why this stage cannot be done again in its run as it stands, as a sentence; "" if it can be, by whoever may.
    `obstacle` is what `obstacles` says of it."""
    if (why := why_not_taken_up(stage.run)) and not (is_lost(stage) and exits_go_on(stage)):
        return why
    if stage.state not in ENDED and not is_lost(stage):
        return f"It is {stage.state}; only a stage that has ended can be retried."
    return obstacle


def why_not_skipped(stage: Stage) -> str:
    """Why this stage cannot be skipped as it stands, as a sentence; "" if it can be, by whoever may."""
    goes_on = exits_go_on(stage)
    if (why := why_not_taken_up(stage.run)) and not goes_on:
        return why
    if stage.kind == "gate" or stage.name == OWNERSHIP_STAGE:
        return "A gate is approved or rejected by the teams that it asks; it cannot be skipped."
    if stage.run.stopping and not goes_on:
        return "This run was canceled, so nothing goes on behind it. Retry what failed, or run its commit again."
    went_wrong = stage.state in (State.FAILED, State.ERROR)
    if not is_paused(stage) and (old := outdated(stage)):
        return old
    # What failed while its plan was made was approved by nobody.
    if is_paused(stage) or (went_wrong and (stage.plan_digest or not stage.gated)):
        return ""
    if stage.state in ENDED and not went_wrong:
        return f"It has ended already: it is {stage.state}."
    if stage.state in (State.RUNNING, State.QUEUED, State.UNKNOWN) and not is_lost(stage):
        return f"It is {stage.state}; cancel the run or wait until it has ended."
    # Going on as if it had been approved is not the owner's to decide where the gate asks others.
    if others := sorted(set(asked_teams(stage)) - {stage.owner}):
        return f"Its gate asks {' and '.join(others)}; they approve or reject it, so it cannot be skipped past them."
    return ""
