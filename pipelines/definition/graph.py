"""Checks over all stages at once: names, needs, cycles, and stages that can never run. Nothing recurses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.definition.depends import (
    EVERY_SET,
    Asked,
    Case,
    Expression,
    cases,
    mask_of,
    sets_within,
)
from pipelines.definition.loader import Node
from pipelines.definition.model import StageDef
from pipelines.definition.ownership import OWNERSHIP_STAGE
from pipelines.definition.report import Mention, Report, shown

Place = tuple[int, int]

MAX_PAIRS = 100_000  # of a stage and one that it needs, matrices expanded
_MAX_SHOWN = 60
_MAX_STEPS = 2_000_000
_MAX_LOOKS = 200_000
_MAX_LOOKS_BACK = 200
# States that a stage ends in only after its needs were met.
_RAN = sum(sets_within(frozenset({state}), several=False) for state in ("succeeded", "failed", "error", "rejected"))


@dataclass(slots=True)
class Entry:
    """One stage as the file has it, before its matrix: `needs` are the names it waits for, with their places, `asks`
    the stages whose state its `when` mentions, and `mentions` the artifacts in its `with`. `stages` are its
    combinations, or itself."""

    name: str
    at: Node
    on_exit: bool
    needs: list[tuple[str, Place]] = field(default_factory=list)
    expression: Expression | None = None
    asks: list[tuple[str, Place]] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    matrix: bool = False
    stages: list[StageDef] = field(default_factory=list)
    depends_at: Node | None = None


def check_graph(entries: Sequence[Entry], report: Report) -> None:
    """Report everything that is wrong between stages."""
    by_name = _unique(entries, report)
    _check_needs(entries, by_name, report)
    needs = {name: known_needs(entry, by_name) for name, entry in by_name.items()}
    _check_width(by_name, needs, report)
    _check_cycles(by_name, needs, report)
    _check_reachable(by_name, report)
    _check_asks(entries, by_name, needs, report)


def _unique(entries: Sequence[Entry], report: Report) -> dict[str, Entry]:
    by_name: dict[str, Entry] = {}
    for entry in entries:
        if entry.name == OWNERSHIP_STAGE:
            report.add(entry.at, "bad-name", f"{shown(entry.name)} is the name of a stage that the portal itself adds")
        first = by_name.setdefault(entry.name, entry)
        if first is not entry:
            message = f"the stage {shown(entry.name)} is already there, in line {first.at.line}"
            report.add(entry.at, "duplicate", message)
    return by_name


def _check_width(by_name: Mapping[str, Entry], needs: Mapping[str, Sequence[str]], report: Report) -> None:
    """A matrix that needs a matrix waits for every pair: few lines can make more of them than anybody can follow."""
    pairs = 0
    for name, entry in by_name.items():
        pairs += len(entry.stages) * sum(len(by_name[need].stages) for need in needs[name])
        if pairs > MAX_PAIRS:
            message = f"with {shown(name)}, stages wait for each other in more than {MAX_PAIRS:,} pairs"
            report.add(entry.at, "matrix-explosion", message, "let a noop stage stand between two matrices")
            return


def known_needs(entry: Entry, by_name: Mapping[str, Entry]) -> list[str]:
    """The stages that it needs, without those that the file does not have."""
    return list(dict.fromkeys(name for name, _ in entry.needs if name in by_name))


def _check_needs(entries: Sequence[Entry], by_name: Mapping[str, Entry], report: Report) -> None:
    for entry in entries:
        for name, place in entry.needs:
            needed = by_name.get(name)
            if needed is None:
                report.unknown(place, "unknown-stage", "stage", name, by_name)
            elif needed.on_exit and not entry.on_exit:
                message = f"{shown(entry.name)} can never run: it needs {shown(name)}, which runs on exit"
                report.add(place, "unreachable", message, "move one of them, or drop the need")


# --- cycles -------------------------------------------------------------------------------------------------


def _check_cycles(by_name: Mapping[str, Entry], needs: Mapping[str, list[str]], report: Report) -> None:
    """Report one cycle, the shortest through its first stage, for each knot of stages that need each
    other."""
    for knot in _knots(_without_order(needs), needs):
        first = min(knot, key=lambda name: (by_name[name].at.line, by_name[name].at.column))
        path = _cycle_through(first, knot, needs)
        place = next(place for name, place in by_name[first].needs if name == path[1])
        hint = "drop one of these needs"
        report.add(place, "cycle", f"these stages need each other: {_arrows(path)}", hint)


def _without_order(needs: Mapping[str, list[str]]) -> set[str]:
    """The stages that no order can reach: those of cycles and those behind them."""
    waiting = {name: len(needed) for name, needed in needs.items()}
    behind: dict[str, list[str]] = {}
    for name, needed in needs.items():
        for other in needed:
            behind.setdefault(other, []).append(name)
    ready = [name for name, count in waiting.items() if not count]
    while ready:
        for other in behind.get(ready.pop(), ()):
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return {name for name, count in waiting.items() if count}


def _knots(left: set[str], needs: Mapping[str, list[str]]) -> list[set[str]]:
    """The strongly connected parts that hold a cycle (Tarjan's algorithm, without its recursion)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    knots = []
    for root in sorted(left):
        work = [(root, iter(needs[root]))] if root not in order else []
        while work:
            name, rest = work[-1]
            if name not in order:
                order[name] = low[name] = len(order)
                path.append(name)
                on_path.add(name)
            step = next((other for other in rest if other in left), None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == order[name]:
                    knot = _cut(path, name, on_path)
                    if len(knot) > 1 or name in needs[name]:
                        knots.append(knot)
            elif step not in order:
                work.append((step, iter(needs[step])))
            elif step in on_path:
                low[name] = min(low[name], order[step])
    return knots


def _cut(path: list[str], name: str, on_path: set[str]) -> set[str]:
    knot: set[str] = set()
    while name not in knot:
        knot.add(path.pop())
    on_path -= knot
    return knot


def _cycle_through(first: str, knot: set[str], needs: Mapping[str, list[str]]) -> list[str]:
    came_from: dict[str, str] = {}
    waiting = deque([first])
    while waiting:
        name = waiting.popleft()
        for other in needs[name]:
            if other == first:
                path = [first, name]
                while path[-1] != first:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if other in knot and other not in came_from:
                came_from[other] = name
                waiting.append(other)
    raise AssertionError(f"{first} is in no cycle")


def _arrows(path: Sequence[str]) -> str:
    if len(path) <= _MAX_SHOWN:
        return " -> ".join(path)
    half = _MAX_SHOWN // 2
    return " -> ".join([*path[:half], f"({len(path) - 2 * half:,} more)", *path[-half:]])


# --- stages that can never run ------------------------------------------------------------------------------


def _check_reachable(by_name: Mapping[str, Entry], report: Report) -> None:
    reach = _Reach(by_name)
    for entry in by_name.values():
        if entry.expression is None or _only_asks_for_success(entry.expression):
            continue
        found = cases(entry.expression)
        if found is None or any(reach.possible(case) for case in found):
            continue
        message = f"{shown(entry.name)} can never run: {shown(entry.expression, 120)} is never true"
        alone = (asked for asked in entry.expression.asked if not reach.can_be(asked))
        hint = next((_why(asked) for asked in alone), "")
        report.add(entry.depends_at or entry.at, "unreachable", message, hint)


def _only_asks_for_success(expression: Expression) -> bool:
    return all(not asked.result for asked in expression.asked) and "!" not in str(expression)


def _why(asked: Asked) -> str:
    why = {
        "Daemoned": "nothing here runs as a daemon",
        "Rejected": f"{asked.name} has no gate",
        "Omitted": f"{asked.name} has no needs",
    }.get(asked.result, "")
    return f"{asked} is never true" + (f": {why}" if why else "")


class _Reach:
    """What stages can end as, given what they needed themselves. Looks back only so far, in one stage and in the
    whole file: where that is not enough, a stage counts as one that can run."""

    def __init__(self, by_name: Mapping[str, Entry]) -> None:
        self._by_name = by_name
        self._endings: dict[str, int] = {}
        self._needed: dict[str, Case] = {}
        self._steps = _MAX_LOOKS

    def possible(self, case: Case) -> bool:
        """Whether all stages can end as the case wants."""
        known: dict[str, int] = {}
        waiting = [case]
        asked: set[str] = set()
        for _ in range(_MAX_LOOKS_BACK):
            if not waiting or self._steps < 0:
                break
            for name, wanted in waiting.pop().items():
                self._steps -= 1
                known[name] = known.get(name, self.endings(name)) & wanted
                if not known[name]:
                    return False
                if name not in asked and name in self._by_name and known[name] & ~_RAN & EVERY_SET == 0:
                    asked.add(name)
                    waiting.append(self.needed_by(name))
        return True

    def can_be(self, asked: Asked) -> bool:
        return bool(mask_of(asked) & self.endings(asked.name))

    def endings(self, name: str) -> int:
        """Every set of states that the stage's combinations can end in; any at all for an unknown stage."""
        if name not in self._by_name:
            return EVERY_SET
        if name not in self._endings:
            entry = self._by_name[name]
            states = {"succeeded", "failed", "error", "skipped", "canceled"}
            states |= {"omitted"} if entry.needs else set()
            states |= {"rejected"} if any(stage.gate for stage in entry.stages) else set()
            self._endings[name] = sets_within(frozenset(states), several=entry.matrix)
        return self._endings[name]

    def needed_by(self, name: str) -> Case:
        """What must have happened for the stage to run, as far as it is one case."""
        if name not in self._needed:
            entry = self._by_name[name]
            if entry.expression is None:
                self._needed[name] = {needed: mask_of(Asked(needed)) for needed, _ in entry.needs}
            else:
                found = cases(entry.expression)
                self._needed[name] = found[0] if found is not None and len(found) == 1 else {}
        return self._needed[name]


# --- conditions that ask for a stage ------------------------------------------------------------------------


def _check_asks(
    entries: Iterable[Entry], by_name: Mapping[str, Entry], needs: Mapping[str, list[str]], report: Report
) -> None:
    steps = _MAX_STEPS
    for entry in entries:
        for name, place in entry.asks:
            if name not in by_name:
                report.unknown(place, "unknown-stage", "stage", name, by_name)
            elif by_name[name].matrix:
                message = f"{shown(name)} has a matrix, so it does not end in one state"
                report.add(place, "bad-expression", message, "ask for its results in depends")
            elif entry.on_exit and not by_name[name].on_exit:
                continue
            elif steps > 0:
                before, steps = _comes_before(name, entry.name, needs, steps)
                if not before:
                    message = f"{shown(entry.name)} asks how {shown(name)} ended, but does not come after it"
                    report.add(place, "unordered", message, f"add {name} to its needs")


def _comes_before(name: str, later: str, needs: Mapping[str, list[str]], steps: int) -> tuple[bool, int]:
    """Whether `later` needs `name`, over any number of stages, and the steps that are left. Once they are
    used up the answer is yes: a huge file is not worth more."""
    seen = {later}
    waiting = deque([later])
    while waiting and steps > 0:
        for other in needs[waiting.popleft()]:
            steps -= 1
            if other == name:
                return True, steps
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return steps <= 0, steps
