"""What the person who looks may do to a run or a stage now, and in words why not to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.inbox import Question
from pipelines.models import Environment, Run, Stage
from pipelines.runs.accept import outdated
from pipelines.runs.actions import requested_by, stage_subject
from pipelines.runs.questions import is_lost, is_paused, obstacles, why_not_retried, why_not_skipped, why_not_taken_up
from pipelines.runs.values import Asked, asked_values
from pipelines.states import AGAIN, MIRRORED, RUN_ENDED, Reason, State
from teams.models import User
from teams.policy import Action, Actor, Subject, Verdict, can


@dataclass(frozen=True, slots=True)
class Control:
    """A button. `action` is the last part of its address, `value` what it sends as `command`. `ask` is the question
    that its reason answers, "" when none is asked."""

    action: str
    label: str
    value: str = ""
    ask: str = ""
    hint: str = ""
    tone: str = ""


@dataclass(slots=True)
class Controls:
    """What may be done, and the sentences about what may not be done, each with the verbs that it is about."""

    allowed: list[Control] = field(default_factory=list)
    denied: dict[str, list[str]] = field(default_factory=dict)

    def add(self, verdict: Verdict, verb: str, *controls: Control) -> None:
        if verdict:
            self.allowed.extend(controls)
        else:
            self.denied.setdefault(verdict.reason, []).append(verb)

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """("retry or skip it", "Only members of dev, ...")."""
        return [(" or ".join(verbs), reason) for reason, verbs in self.denied.items()]


@dataclass(frozen=True, slots=True)
class Decision:
    """Approve and reject, as one person sees them. `why_not` is a sentence, "" when they may approve."""

    question: Question
    approve: str
    why_not: str
    may_reject: bool
    reason_required: bool
    teams: tuple[str, ...]
    values: tuple[Asked, ...]


def decision(question: Question, user: User, actor: Actor) -> Decision:
    stage = question.stage
    subject = stage_subject(stage, user)
    approve, reject = can(actor, Action.APPROVE, subject), can(actor, Action.REJECT, subject)
    mine = tuple(team for team in question.asked if actor.works_in(team))
    why_not = approve.reason
    if approve:
        why_not = _already(question, user, mine) or ("" if is_paused(stage) else outdated(stage))
    return Decision(
        question=question,
        approve=approve_label(stage),
        why_not=why_not,
        may_reject=bool(reject),
        reason_required=bool((stage.definition.get("gate") or {}).get("reason_required")),
        teams=mine if len(mine) > 1 else (),
        values=asked_values(stage),
    )


def _already(question: Question, user: User, mine: Sequence[str]) -> str:
    """Why somebody who may approve need not do so any more, "" when it still counts."""
    if user.pk in question.answered:
        return "You have approved this plan already; a person counts once."
    if not set(mine) & set(question.missing):
        return f"Your team has approved this plan already; {' and '.join(question.missing)} has not."
    return ""


def approve_label(stage: Stage) -> str:
    """The words on the button: they say what it does."""
    if is_paused(stage):
        return "Let it go on"
    summary = (stage.plan or {}).get("summary") or "let it go on"
    return f"Approve and {summary}"


def stage_controls(stage: Stage, user: User, actor: Actor) -> Controls:
    """Everything but approve and reject, which stand beneath the plan."""
    controls, subject = Controls(), stage_subject(stage, user)
    lost = is_lost(stage)
    if stage.kind == "rollout" and (is_paused(stage) or (stage.state == State.RUNNING and stage.reason_code != "plan")):
        _steer(controls, can(actor, Action.STEER, subject))
    # What has succeeded, or was skipped, has no button: few want it again, and the API has it for them.
    again = stage.state in AGAIN or lost
    if again and not why_not_retried(stage, obstacles(stage.run, [stage]).get(stage.pk, "")):
        hint = "It was looked at, and may be done once more." if lost else ""
        controls.add(
            can(actor, Action.RETRY, subject), "retry", Control("retry", "Retry this stage", hint=hint, tone="primary")
        )
    if not why_not_skipped(stage):
        skip = Control("skip", "Skip this stage", ask="Why is it safe to go on without it?")
        controls.add(can(actor, Action.SKIP, subject), "skip", skip)
    if stage.state == State.WAITING and stage.reason_code == Reason.WINDOW:
        _freeze(controls, stage, actor)
    return controls


def _steer(controls: Controls, verdict: Verdict) -> None:
    controls.add(
        verdict,
        "steer",
        Control("steer", "Promote one step", value="promote", hint="Ends the present pause.", tone="primary"),
        Control("steer", "Promote fully", value="promote-full", ask="Why skip the steps that are left?"),
        Control("steer", "Abort the rollout", value="abort", ask="What is wrong with it?", tone="danger"),
    )


def _freeze(controls: Controls, stage: Stage, actor: Actor) -> None:
    environment = Environment.objects.filter(pipeline=stage.run.pipeline_id, name=stage.environment).first()
    subject = Subject(owner=environment.owner if environment else stage.owner)
    ask = f"Why does the freeze of {stage.environment} not hold here?"
    control = Control("override-freeze", "Override the freeze", ask=ask, tone="danger")
    controls.add(can(actor, Action.OVERRIDE_FREEZE, subject), "override its freeze", control)


def run_controls(run: Run, owners: frozenset[str], bad: Sequence[Stage], user: User, actor: Actor) -> Controls:
    """`owners` are those of all stages; `bad` has, for each owner of stages that could be retried, one of them."""
    controls = Controls()
    mine = requested_by(run, user)
    subject = Subject(pipeline_owner=run.pipeline.owner, teams=owners, requested_by_actor=mine)
    if run.engine == MIRRORED:
        return _of_a_workflow(controls, run, subject, actor)
    if run.state not in RUN_ENDED:
        _stop(controls, run, subject, actor)
        return controls
    if bad and not why_not_taken_up(run):
        verdicts = [can(actor, Action.RETRY, stage_subject(stage, user)) for stage in bad]
        verdict = next((one for one in verdicts if one), verdicts[0])
        hint = "What succeeded stays as it is."
        if not all(verdicts):
            hint += " What other teams own is theirs to retry."
        control = Control("retry-failed", "Retry what failed", hint=hint, tone="primary")
        controls.add(verdict, "retry what failed", control)
    if run.trigger != "rollback":
        hint = "A new run of the same commit, with the same parameters."
        controls.add(can(actor, Action.START, subject), "run it again", Control("rerun", "Run again", hint=hint))
    return controls


def _of_a_workflow(controls: Controls, run: Run, subject: Subject, actor: Actor) -> Controls:
    """Argo runs it as a whole, so it is stopped as a whole; one that others submitted has to be adopted before."""
    if run.state in RUN_ENDED:
        return controls
    if run.adopted.governed:
        _stop(controls, run, subject, actor)
    elif run.adopted.adoptable:
        hint = "Its gates are then opened here, by the teams that own them."
        adopt = Control("adopt", "Adopt this Workflow", hint=hint, tone="primary")
        controls.add(can(actor, Action.CANCEL, subject), "adopt it", adopt)
    return controls


def _stop(controls: Controls, run: Run, subject: Subject, actor: Actor) -> None:
    if not run.stopping:
        ask = f"Why cancel run #{run.number}? Its exit stages still run."
        cancel = Control("cancel", "Cancel the run", ask=ask, tone="danger")
        controls.add(can(actor, Action.CANCEL, subject), "cancel", cancel)
    if run.stopping != "terminate":
        ask = f"Why terminate run #{run.number}? Not even its exit stages run."
        terminate = Control("terminate", "Terminate", ask=ask, tone="danger")
        controls.add(can(actor, Action.TERMINATE, subject), "terminate", terminate)


def may_roll_back(environment: Environment, actor: Actor) -> Verdict:
    return can(actor, Action.ROLL_BACK, Subject(owner=environment.owner))
