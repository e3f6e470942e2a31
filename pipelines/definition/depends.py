"""`depends`: Argo's logic over stage names, such as `A.Succeeded && (B.Failed || C.Skipped)`.

An expression is asked once every stage that it names has ended, with the end states of each: one for an
ordinary stage, one for each combination of a matrix stage.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from pipelines.definition.grammar import (
    Any,
    ExpressionError,
    Not,
    Parser,
    Tree,
    compiled,
    tokens,
    written,
)

Results = Mapping[str, Sequence[str]]
Answer = Callable[[Results], bool]

NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]*"
_TOKENS = re.compile(
    rf"(?P<space>\s+)|(?P<and>&&)|(?P<or>\|\|)|(?P<not>!)|(?P<open>\()|(?P<close>\))|(?P<name>{NAME}(\.[A-Za-z]*)?)"
)
_SIMPLE = re.compile(rf"{NAME}(?: && {NAME})*")

# Every ending a stage can have; `daemoned` exists only in Argo.
ENDINGS = ("succeeded", "failed", "error", "skipped", "omitted", "canceled", "rejected", "daemoned")
_MET = frozenset({"succeeded", "skipped", "daemoned"})


def _every(*states: str) -> Callable[[Sequence[str]], bool]:
    wanted = frozenset(states)
    return lambda found: bool(found) and wanted.issuperset(found)


def _some(state: str) -> Callable[[Sequence[str]], bool]:
    return lambda found: state in found


def _succeeded(found: Sequence[str]) -> bool:
    return "succeeded" in found and all(state in ("succeeded", "skipped") for state in found)


# One failed combination fails a matrix stage; one skipped does not. That is how Argo sums up a task group.
RESULTS: Mapping[str, Callable[[Sequence[str]], bool]] = {
    "Succeeded": _succeeded,
    "Failed": _some("failed"),
    "Errored": _some("error"),
    "Skipped": _every("skipped"),
    "Omitted": _every("omitted"),
    "Daemoned": _every("daemoned"),
    "AnySucceeded": _some("succeeded"),
    "AllFailed": _every("failed"),
    "Canceled": _some("canceled"),
    "Rejected": _some("rejected"),
    "": lambda found: _MET.issuperset(found),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One name of an expression, with the result it asks for; "" means succeeded or skipped."""

    name: str
    result: str = ""
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.name}.{self.result}" if self.result else self.name


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed `depends`; `str()` gives its normal spelling and `names` its stages in order, each once."""

    tree: Tree[Asked]

    def __str__(self) -> str:
        return written(self.tree, str)

    @property
    def asked(self) -> tuple[Asked, ...]:
        return tuple(_leaves(self.tree))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(asked.name for asked in self.asked))


def _leaves(tree: Tree[Asked]) -> list[Asked]:
    if isinstance(tree, Asked):
        return [tree]
    if isinstance(tree, Not):
        return _leaves(tree.of)
    return [leaf for part in tree.of for leaf in _leaves(part)]


def parse_depends(text: str) -> Expression:
    """Parse an expression; raises ExpressionError with the offset of what is wrong."""
    return Expression(Parser(tokens(text, _TOKENS), _term).whole())


def _term(parser: Parser[Asked]) -> Asked:
    token = parser.take("name", "the name of a stage")
    name, dot, result = token.text.partition(".")
    if dot and (not result or result not in RESULTS):
        near = difflib.get_close_matches(result, list(RESULTS), 1) or [
            known for known in RESULTS if known and known.lower() == result.lower()
        ]
        hint = near[0] if near else "use one of: " + ", ".join(known for known in RESULTS if known)
        offset = token.offset + len(name) + 1
        raise ExpressionError(f'a stage has no result "{result}"', offset, hint)
    return Asked(name, result, token.offset)


def evaluate(expression: Expression, results: Results) -> bool:
    """Whether the stage may run, now that every stage of `expression.names` has ended.

    `results` gives each name's end states in our words (succeeded failed error skipped omitted canceled
    rejected). Raises KeyError for a name that it lacks.
    """
    return compiled(expression.tree, _answer)(results)


def _answer(asked: Asked) -> Answer:
    name, test = asked.name, RESULTS[asked.result]
    return lambda results: test(results[name])


@lru_cache(maxsize=65536)
def compile_depends(text: str) -> Answer:
    """`evaluate` for a text that is asked often: a function of `results`, kept for the next call with this
    text.

    "" is always true. Raises ExpressionError.
    """
    if not text:
        return lambda _: True
    if _SIMPLE.fullmatch(text):
        return _all_met(tuple(text.split(" && ")))
    return compiled(parse_depends(text).tree, _answer)


def _all_met(names: tuple[str, ...]) -> Answer:
    def answer(results: Results) -> bool:
        for name in names:
            for state in results[name]:
                if state not in _MET:
                    return False
        return True

    return answer


# --- can it ever be true? -----------------------------------------------------------------------------------

# What a stage can end as is a set of states (several only for a matrix), and one bit stands for each such
# set.
_SETS = tuple(frozenset(chosen) for size in range(1, len(ENDINGS) + 1) for chosen in combinations(ENDINGS, size))
EVERY_SET = (1 << len(_SETS)) - 1
_MASKS = {
    result: sum(1 << bit for bit, chosen in enumerate(_SETS) if test(tuple(chosen))) for result, test in RESULTS.items()
}
_MAX_CASES = 512

Case = Mapping[str, int]


def mask_of(asked: Asked) -> int:
    """The bits of all sets of endings for which this name's result is true."""
    return _MASKS[asked.result]


@lru_cache(maxsize=256)
def sets_within(states: frozenset[str], several: bool) -> int:
    """The bits of all sets that a stage with these possible states can end in."""
    return sum(1 << bit for bit, chosen in enumerate(_SETS) if chosen <= states and (several or len(chosen) == 1))


def cases(expression: Expression) -> list[Case] | None:
    """The ways in which an expression becomes true: in each case, a mask of sets for each name it restricts.

    None where there are too many to list. Names may still contradict what their stages can end as.
    """
    return _cases(expression.tree, wanted=True)


def _cases(tree: Tree[Asked], *, wanted: bool) -> list[Case] | None:
    if isinstance(tree, Asked):
        mask = _MASKS[tree.result]
        return [{tree.name: mask if wanted else EVERY_SET & ~mask}]
    if isinstance(tree, Not):
        return _cases(tree.of, wanted=not wanted)
    parts = [_cases(part, wanted=wanted) for part in tree.of]
    if isinstance(tree, Any) is wanted:
        flat = [case for part in parts if part is not None for case in part]
        return flat if None not in parts and len(flat) <= _MAX_CASES else None
    return joined(parts)


def joined(parts: Sequence[Sequence[Case] | None]) -> list[Case] | None:
    """The cases in which all parts are true at once."""
    found: list[Case] = [{}]
    for part in parts:
        if part is None or len(found) * len(part) > _MAX_CASES:
            return None
        found = [both for one in found for other in part if (both := both_hold(one, other)) is not None]
    return found


def both_hold(one: Case, other: Case) -> Case | None:
    """Both cases as one, or None where they contradict each other."""
    both = dict(one)
    for name, mask in other.items():
        both[name] = both.get(name, EVERY_SET) & mask
        if not both[name]:
            return None
    return both
