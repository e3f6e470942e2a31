"""What a run does now, in one sentence for the person who looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .dag import PLANNING
from .states import ENDED, RUN_ENDED, Reason, RunState, State

_BAD = (State.FAILED, State.ERROR, State.REJECTED)
_CAUSE_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Now:
    """A stage at this moment. `seconds` is how long it has been like this. `asked` and `have` count approvals by
    the names of teams; `verdict` says whether and why not the viewer may approve, where that is asked."""

    title: str
    state: str
    code: str = ""
    reason: str = ""
    owner: str = ""
    seconds: float = 0.0
    asked: Mapping[str, int] = field(default_factory=dict)
    have: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False
    verdict: str = ""


def what_happens_now(
    *, state: str, reason: str = "", stopping: str = "", elapsed: float = 0.0, stages: Sequence[Now] = ()
) -> str:
    """`elapsed` is in seconds, from the run's start to its end, or to now."""
    if state in RUN_ENDED:
        return _ended(state, reason, elapsed, stages)
    if stopping:
        return _stopping(reason, stages)
    for tell in (_asks, _lost, _runs, _holds, _queued):
        if sentence := tell(stages):
            return sentence
    return "It is about to go on."


def for_long(seconds: float) -> str:
    """A duration as people say it: "40 s", "4 min", "3 h 5 min", "2 d"."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"
    return f"{whole // 86_400} d"


def takes_back(number: int, commit: str, environment: str) -> str:
    """What whoever approves an older run should know."""
    return f"Run #{number} (newer, commit {commit[:7]}) is verified in {environment}; approving takes it back."


def _ended(state: str, reason: str, elapsed: float, stages: Sequence[Now]) -> str:
    if state == RunState.SUCCEEDED:
        done = sum(stage.state == State.SUCCEEDED for stage in stages)
        return f"All done: {_count(done, 'stage')} succeeded in {for_long(elapsed)}."
    if state == RunState.CANCELED:
        return _sentence(reason or "It was canceled")
    bad = [stage for stage in stages if stage.state in _BAD]
    if not bad:
        return _sentence(_first_line(reason) or f"It ended as {state}")
    first = bad[0]
    verb = {State.REJECTED: "was rejected", State.ERROR: "could not be done"}.get(State(first.state), "failed")
    more = f" {_count(len(bad) - 1, 'other stage')} did not succeed either." if len(bad) > 1 else ""
    cause = _first_line(first.reason)
    return _sentence(f"{first.title} {verb}{': ' + cause if cause else ''}") + more


def _stopping(reason: str, stages: Sequence[Now]) -> str:
    going = [stage for stage in stages if stage.state not in ENDED and stage.state != State.PENDING]
    left = f" {_count(len(going), 'stage')} {'is' if len(going) == 1 else 'are'} still ending." if going else ""
    return f"It is being stopped: {_sentence(reason, upper=False)}{left}"


def _asks(stages: Sequence[Now]) -> str:
    asking = [s for s in stages if s.state == State.WAITING and s.code == Reason.APPROVAL]
    if not asking:
        return ""
    first = asking[0]
    what = f"let “{first.title}” go on" if first.paused else f"approve “{first.title}”"
    text = f"Waiting {for_long(first.seconds)} for {_teams(first)} to {what}{_score(first)}."
    if first.paused and first.reason:
        text += f" It paused: {_sentence(_first_line(first.reason), upper=False)}"
    if first.verdict:
        text += f" {first.verdict}"
    if len(asking) > 1:
        text += f" {_count(len(asking) - 1, 'other stage')} {'waits' if len(asking) == 2 else 'wait'} as well."
    return text + _meanwhile(stages)


def _teams(stage: Now) -> str:
    missing = [team for team, quorum in stage.asked.items() if stage.have.get(team, 0) < quorum]
    return " and ".join(missing) or "its teams"


def _score(stage: Now) -> str:
    """How far the approvals are, where more than one is needed."""
    needed = sum(stage.asked.values())
    got = sum(min(stage.have.get(team, 0), quorum) for team, quorum in stage.asked.items())
    return f" ({got} of {needed})" if needed > 1 else ""


def _meanwhile(stages: Sequence[Now]) -> str:
    running = [stage for stage in stages if stage.state == State.RUNNING]
    if not running:
        return ""
    return f" Meanwhile {_names(running)} {'runs' if len(running) == 1 else 'run'}."


def _lost(stages: Sequence[Now]) -> str:
    lost = [stage for stage in stages if stage.state == State.UNKNOWN]
    if not lost:
        return ""
    first = lost[0]
    if first.code == "person":
        cause = _sentence(_first_line(first.reason)) if first.reason else ""
        return f"Nobody knows what became of “{first.title}”. {first.owner} has to look, then retry it. {cause}".strip()
    when = for_long(first.seconds)
    return f"Contact with “{first.title}” was lost {when} ago; a worker is finding out what became of it."


def _runs(stages: Sequence[Now]) -> str:
    running = [stage for stage in stages if stage.state == State.RUNNING]
    if not running:
        return ""
    longest = max(stage.seconds for stage in running)
    if len(running) == 1 and running[0].code == "plan":
        return f"The plan of “{running[0].title}” is being made."
    return f"{_names(running)} {'has' if len(running) == 1 else 'have'} been running for {for_long(longest)}."


def _holds(stages: Sequence[Now]) -> str:
    """It waits for something that is no person."""
    for stage in stages:
        if stage.state == State.WAITING:
            why = _sentence(_first_line(stage.reason)) if stage.reason else ""
            return f"“{stage.title}” has waited {for_long(stage.seconds)}. {why}".strip()
    return ""


def _queued(stages: Sequence[Now]) -> str:
    queued = [stage for stage in stages if stage.state == State.QUEUED]
    if not queued:
        return ""
    first = queued[0]
    if first.code == "retry" or (first.code == "plan" and first.reason != PLANNING):
        return f"“{first.title}” will be tried again: {_sentence(_first_line(first.reason), upper=False)}"
    return f"{_names(queued)} {'waits' if len(queued) == 1 else 'wait'} for a free worker."


def _names(stages: Sequence[Now]) -> str:
    names = [f"“{stage.title}”" for stage in stages[:2]]
    if len(stages) > 2:
        return f"{', '.join(names)} and {_count(len(stages) - 2, 'other stage')}"
    return " and ".join(names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0].strip() if text.strip() else ""
    return line if len(line) <= _CAUSE_LENGTH else line[: _CAUSE_LENGTH - 1] + "…"


def _sentence(text: str, *, upper: bool = True) -> str:
    text = text.strip()
    # A name of a file or a service stays as it is.
    if upper and text and text.split()[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
