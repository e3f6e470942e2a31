"""What the header of a run says: how far it is, what happens now, and what the person who looks may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from pipelines import graph, inbox, selectors
from pipelines.inbox import Question
from pipelines.models import Run, Stage
from pipelines.runs.actions import stage_subject
from pipelines.runs.mirrored import BREACH
from pipelines.runs.questions import is_paused
from pipelines.selectors import Glance
from pipelines.sentences import Now, what_happens_now
from pipelines.states import ENDED, MIRRORED, Reason, State
from portal.context import team_names
from teams.policy import Action, can

from .base import TeamRequest
from .controls import run_controls


def header(request: TeamRequest, run: Run, stages: Sequence[Glance]) -> dict[str, Any]:
    """`stages` are all of the run's. Only the few that are talked about are read with everything. `mine` is what the
    person who looks can approve now, if anything."""
    told, failed = selectors.told_of(stages), selectors.retriable_of(stages)
    full = {stage.pk: stage for stage in selectors.stages_of(run, {*told, *failed})}
    facts, mine = _facts(request, stages, {pk: full[pk] for pk in told})
    elapsed = ((run.ended_at or timezone.now()) - run.created_at).total_seconds()
    owners = frozenset(stage.owner for stage in stages)
    return {
        "run": run,
        "sentence": what_happens_now(
            state=run.state, reason=run.reason, stopping=run.stopping, elapsed=elapsed, stages=facts
        ),
        "mine": mine,
        "controls": run_controls(run, owners, [full[pk] for pk in failed], request.user, request.actor),
        "done": sum(stage.state in ENDED for stage in stages),
        "total": len(stages),
        "adopted": run.adopted if run.engine == MIRRORED else None,
        "breaches": [full[stage.pk] for stage in stages if stage.code == BREACH and stage.pk in full],
    }


def _asks(stage: Stage) -> bool:
    return stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL


def _facts(
    request: TeamRequest, stages: Sequence[Glance], full: dict[int, Stage]
) -> tuple[list[Now], Stage | None]:  # fmt: skip
    """What the sentence is made of; what this person can approve comes first, and is named beside it."""
    asking = {one.stage.pk: one for one in inbox.questions_of([stage for stage in full.values() if _asks(stage)])}
    names = team_names(request)
    found: list[Now] = []
    mine = None
    for one in stages:
        stage = full.get(one.pk)
        if stage is None:
            found += [Now(title="", state=one.state, code=one.code)] * (one.state not in selectors.UNTOLD)
            continue
        question = asking.get(stage.pk)
        verdict = _about_me(request, question) if question else ""
        fact = _now(stage, question, names, verdict)
        if verdict == _YOURS and mine is None:
            mine = stage
            found.insert(0, fact)
        else:
            found.append(fact)
    return found, mine


def _now(stage: Stage, question: Question | None, names: Mapping[str, str], verdict: str) -> Now:
    since = (timezone.now() - stage.since).total_seconds() if stage.since else 0.0
    return Now(
        title=graph.title_of(stage.definition),
        state=stage.state,
        code=stage.reason_code,
        reason=stage.reason,
        owner=names.get(stage.owner, stage.owner),
        seconds=since,
        asked={names.get(team, team): quorum for team, quorum in question.asked.items()} if question else {},
        have={names.get(team, team): count for team, count in question.have.items()} if question else {},
        paused=is_paused(stage),
        verdict=verdict,
    )


_YOURS = "You can approve it."


def _about_me(request: TeamRequest, question: Question) -> str:
    """What the person who looks has to do with a question, "" when nothing."""
    if request.user.pk in question.answered:
        return "You have approved it."
    subject = stage_subject(question.stage, request.user)
    if not any(request.actor.works_in(team) for team in question.missing):
        return ""
    if can(request.actor, Action.APPROVE, subject):
        return _YOURS
    if subject.requested_by_actor:
        what = "pushed this commit" if question.stage.run.trigger == "push" else "requested this run"
        return f"You {what}, so you cannot."
    return ""
