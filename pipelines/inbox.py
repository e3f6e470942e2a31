"""What waits for people: the questions that gates, pauses and lost stages ask, and whom they keep waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.db.models import Q

from teams.models import Membership, User
from teams.policy import Action, Actor, Role, can

from .models import Approval, Stage
from .overtaken import taken_back
from .runs.accept import look_at
from .runs.actions import stage_subject
from .runs.questions import asked_digest, asked_teams
from .states import Reason, State
from .votes import Vote, votes_on


@dataclass(frozen=True, slots=True)
class Question:
    """A stage that waits for people.

    `asked` and `have` count approvals by team; `answered` are the keys of the people who have voted; `blocked` are
    the stages that wait behind it, as (title, owning team), `people` how many people those keep waiting. `left` says of
    each vote that does not count any more why; `warning` what to know before approving, "" for nothing.
    """

    stage: Stage
    digest: str
    asked: Mapping[str, int]
    have: Mapping[str, int]
    answered: frozenset[int]
    blocked: tuple[tuple[str, str], ...] = ()
    people: int = 0
    left: tuple[str, ...] = ()
    warning: str = ""

    @property
    def missing(self) -> list[str]:
        """The teams whose approvals are not complete yet."""
        return [team for team, quorum in self.asked.items() if self.have.get(team, 0) < quorum]


def open_questions() -> list[Question]:
    """Every gate and pause that waits for an approval, and every stage of which a person has to find out what
    became of it; the longest waiting first."""
    waits = Q(state=State.WAITING, reason_code=Reason.APPROVAL) | Q(state=State.UNKNOWN, reason_code="person")
    stages = list(
        Stage.objects.filter(waits, Q(run__stopping="") | Q(run__stopping="cancel", on_exit=True))
        .select_related("run__pipeline", "run__requested_by")
        .order_by("since", "pk")
    )
    return questions_of(stages)


def questions_of(stages: Sequence[Stage]) -> list[Question]:
    """What these stages ask, a fixed number of queries for all of them. Each must have its run and pipeline."""
    digests = {stage.pk: asked_digest(stage) for stage in stages}
    votes: dict[int, list[Vote]] = {}
    for vote in votes_on(digests):
        votes.setdefault(vote.stage, []).append(vote)
    warnings = taken_back(stages)
    look_at([stage.run for stage in stages])
    return [_question(stage, votes.get(stage.pk, []), warnings.get(stage.pk, "")) for stage in stages]


def _question(stage: Stage, votes: Sequence[Vote], warning: str) -> Question:
    counting = [vote for vote in votes if not vote.why_not]
    return Question(
        stage=stage,
        digest=asked_digest(stage),
        asked=asked_teams(stage),
        have=Counter(vote.team for vote in counting if vote.verdict == Approval.Verdict.APPROVE),
        answered=frozenset(vote.user for vote in counting),
        left=tuple(vote.why_not for vote in votes if vote.why_not),
        warning=warning,
    )


def who_answered(digests: Mapping[int, str]) -> dict[int, set[int]]:
    """The people whose votes about what is asked now count, by stage."""
    found: dict[int, set[int]] = {}
    for vote in votes_on(digests):
        if not vote.why_not:
            found.setdefault(vote.stage, set()).add(vote.user)
    return found


def approved_by(user: User, stages: Iterable[Stage]) -> set[int]:
    """The keys of those that ask now and that this person has approved already."""
    asking = [one for one in stages if one.state == State.WAITING and one.reason_code == Reason.APPROVAL]
    answered = who_answered({stage.pk: asked_digest(stage) for stage in asking})
    return {stage for stage, people in answered.items() if user.pk in people}


def for_user(questions: Iterable[Question], user: User, actor: Actor) -> list[Question]:
    """Those that this person can answer and that still need an answer of one of their teams."""
    return [question for question in questions if _can_answer(question, user, actor)]


def _can_answer(question: Question, user: User, actor: Actor) -> bool:
    subject = stage_subject(question.stage, user)
    if question.stage.state == State.UNKNOWN:
        return bool(can(actor, Action.RETRY, subject))
    if user.pk in question.answered or not any(actor.works_in(team) for team in question.missing):
        return False
    return bool(can(actor, Action.APPROVE, subject))


def with_blocked(questions: Iterable[Question]) -> list[Question]:
    """The same questions, knowing what they hold up, the most blocking first."""
    questions = list(questions)
    behind = _pending_stages({question.stage.run_id for question in questions})
    workers = _workers()
    weighed = [_weigh(question, behind.get(question.stage.run_id, []), workers) for question in questions]
    return sorted(weighed, key=lambda one: (-len(one.blocked), -one.people, one.stage.since))


def _pending_stages(runs: set[int]) -> dict[int, list[Stage]]:
    found: dict[int, list[Stage]] = {}
    rows = Stage.objects.filter(run__in=runs, state=State.PENDING, on_exit=False)
    for stage in rows.only("run_id", "name", "owner", "position", "definition").order_by("run", "position"):
        found.setdefault(stage.run_id, []).append(stage)
    return found


def _workers() -> dict[str, set[int]]:
    """Who works in each team."""
    found: dict[str, set[int]] = {}
    rows = Membership.objects.exclude(role=Role.VIEWER).values_list("team__slug", "user")
    for team, user in rows:
        found.setdefault(team, set()).add(user)
    return found


def _weigh(question: Question, pending: list[Stage], workers: Mapping[str, set[int]]) -> Question:
    held = {question.stage.definition.get("group") or question.stage.name}
    blocked: list[tuple[str, str]] = []
    # Every stage stands after those that it needs, so one pass finds all that follow.
    for stage in pending:
        if held & set(stage.definition["needs"]):
            held.add(stage.definition.get("group") or stage.name)
            blocked.append((stage.definition["title"] or stage.name, stage.owner))
    people: set[int] = set().union(*(workers.get(owner, set()) for _, owner in blocked))
    if question.stage.run.requested_by_id:
        people.add(question.stage.run.requested_by_id)
    return replace(question, blocked=tuple(blocked), people=len(people))


def waits_on_others(questions: Iterable[Question], user: User, actor: Actor) -> dict[str, list[Question]]:
    """By team, what this person waits for: in runs that they requested, and what holds up a stage of their teams."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        mine = question.stage.run.requested_by_id == user.pk
        held_up = any(actor.works_in(owner) for _, owner in question.blocked)
        if not (mine or held_up or user.pk in question.answered):
            continue
        for team in question.missing:
            found.setdefault(team, []).append(question)
    return found
