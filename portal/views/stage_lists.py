"""The stages of a run as a list: what needs attention first, a page of one state at a time when there are many."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pipelines import selectors
from pipelines.models import Run, Stage
from pipelines.selectors import Glance
from pipelines.states import State
from portal import forms

from .base import TeamRequest

FEW = 40  # stages of a run that are all shown at once
SHOWN = 12  # of one state, while all states are shown
PAGE = 100  # of one state alone

# The order in which a person wants to read about stages.
_GROUPS = (
    State.WAITING, State.UNKNOWN, State.FAILED, State.ERROR, State.REJECTED, State.RUNNING, State.QUEUED,
    State.PENDING, State.SUCCEEDED, State.SKIPPED, State.OMITTED, State.CANCELED,
)  # fmt: skip
_OVER = (State.SUCCEEDED, State.SKIPPED, State.OMITTED, State.CANCELED)


@dataclass(slots=True)
class Group:
    """The stages of one state. `all_of_them` leads to this state alone, `before` and `after` to its other pages; each
    is a query of an address, "" when there is nothing more."""

    state: str
    total: int
    keys: list[int] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    first: int = 1  # the number of the first one shown
    all_of_them: str = ""
    before: str = ""
    after: str = ""

    @property
    def last(self) -> int:
        return self.first + len(self.stages) - 1


def context(request: TeamRequest, run: Run, stages: Sequence[Glance]) -> dict[str, Any]:
    """`stages` are all of the run's. One query more, however many they are."""
    form = forms.StageFilter(request.GET)
    form.is_valid()  # a filter that cannot be read is none
    asked = form.cleaned_data
    wanted = {key: str(asked[key]) for key in ("state", "team", "name", "only") if asked.get(key)}
    found = _matching(run, stages, wanted)
    by_state: dict[str, list[Glance]] = {}
    for stage in found:
        by_state.setdefault(stage.state, []).append(stage)
    many = len(found) > FEW
    groups = [_cut(by_state[state], wanted, asked.get("page") or 1, many) for state in _GROUPS if state in by_state]
    rows = {stage.pk: stage for stage in selectors.stages_of(run, {key for group in groups for key in group.keys})}
    for group in groups:
        group.stages = [rows[key] for key in group.keys if key in rows]
    return {
        "groups": groups,
        "wanted": wanted,
        "found": len(found),
        "many": len(stages) > FEW,
        "stage_states": [state.value for state in _GROUPS if any(one.state == state for one in stages)],
        "stage_teams": sorted({stage.owner for stage in stages}),
    }


def _matching(run: Run, stages: Sequence[Glance], wanted: dict[str, str]) -> Sequence[Glance]:
    if state := wanted.get("state"):
        stages = [stage for stage in stages if stage.state == state]
    if team := wanted.get("team"):
        stages = [stage for stage in stages if stage.owner == team]
    if only := wanted.get("only"):
        positions = _positions(only, len(stages) and max(stage.position for stage in stages))
        stages = [stage for stage in stages if stage.position in positions]
    if name := wanted.get("name"):
        named = selectors.stages_named(run, name)
        stages = [stage for stage in stages if stage.pk in named]
    return stages


def _positions(text: str, last: int) -> Collection[int]:
    """ "3-5.9": 3, 4, 5 and 9. What is none is left out."""
    found: set[int] = set()
    for part in text.split("."):
        first, _, end = part.partition("-")
        if first.isdecimal() and (end or first).isdecimal():
            found.update(range(int(first), min(int(end or first), last) + 1))
    return found


def _cut(stages: list[Glance], wanted: dict[str, str], page: int, many: bool) -> Group:
    """The part of one state's stages that is shown."""
    state = stages[0].state
    group = Group(state, len(stages))
    begin, count = 0, len(stages)
    if wanted.get("state"):
        pages = -(-len(stages) // PAGE)
        page = min(page, pages)
        begin, count = (page - 1) * PAGE, PAGE
        group.before = urlencode(wanted | {"page": page - 1}) if page > 1 else ""
        group.after = urlencode(wanted | {"page": page + 1}) if page < pages else ""
    elif many:
        count = 0 if state in _OVER and len(stages) > SHOWN else SHOWN
        group.all_of_them = urlencode(wanted | {"state": state}) if len(stages) > count else ""
    group.first = begin + 1
    group.keys = [stage.pk for stage in stages[begin : begin + count]]
    return group
