"""What the panel of one stage shows: its head, and one of plan, log, attempts and decisions."""

from __future__ import annotations

from typing import Any

from pipelines import inbox, selectors
from pipelines.models import Stage
from pipelines.runs.questions import asked_digest, is_paused
from pipelines.states import Reason, State

from . import plans, progress
from .base import TeamRequest
from .controls import decision, stage_controls

TABS = ("plan", "log", "attempts", "decisions")


def asks(stage: Stage) -> bool:
    return stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL


def tab_of(stage: Stage, named: str) -> str:
    """The tab that was asked for, else the one that answers what a person wants to know in this state."""
    if named in TABS:
        return named
    return "plan" if stage.state in (State.PENDING, State.WAITING, State.SKIPPED, State.OMITTED) else "log"


def context(request: TeamRequest, stage: Stage, tab: str, *, problem: str = "", seen: str = "") -> dict[str, Any]:
    """The whole panel. `seen` is the plan that the person read, when it has been replaced meanwhile."""
    return head(request, stage, tab) | body(request, stage, tab, seen=seen) | {"problem": problem}


def head(request: TeamRequest, stage: Stage, tab: str) -> dict[str, Any]:
    piece = progress.of(stage)
    return {
        "piece": piece,
        "reason": piece["reason"] if piece else stage.reason,
        "run": stage.run,
        "stage": stage,
        "selected": stage.name,
        "tab": tab_of(stage, tab),
        "tabs": TABS,
        "asked": asked_digest(stage) if asks(stage) else "",
        "stage_controls": stage_controls(stage, request.user, request.actor),
    }


def body(request: TeamRequest, stage: Stage, tab: str, *, seen: str = "") -> dict[str, Any]:
    tab = tab_of(stage, tab)
    found: dict[str, Any] = {"run": stage.run, "stage": stage, "tab": tab}
    if tab == "log":
        found["log"] = selectors.log_of(stage)
    elif tab == "attempts":
        found["attempts"] = selectors.attempts_of(stage)
    elif tab == "decisions":
        voided = selectors.voided_votes(stage)
        found["decisions"] = [
            (event, voided.get((event.data["actor"], event.data["digest"]), ""))
            for event in selectors.decisions_of(stage)
        ]
    else:
        found |= plan(request, stage, seen)
    return found


def plan(request: TeamRequest, stage: Stage, seen: str = "") -> dict[str, Any]:
    """The plan, and how to decide about it while it asks."""
    found: dict[str, Any] = {"plan": stage.plan, "paused": is_paused(stage), "changes": plans.shown(stage.plan)}
    found["question"] = stage.progress.get("question")
    if asks(stage):
        question = inbox.with_blocked(inbox.questions_of([stage]))[0]
        found["decision"] = decision(question, request.user, request.actor)
        found["seen"] = plans.seen(stage.plan)
    found["differences"] = plans.differences(seen, stage.plan) if seen else []
    return found
