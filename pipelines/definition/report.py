"""Problems found in a file: collecting them, naming the nearest valid name, and printing them for a
terminal."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pipelines.definition.model import Problem

MAX_PROBLEMS = 1000
# Comparing one word with 10,000 short names takes difflib some 30 ms and with long ones ten times that, so a file full
# of errors gets so many characters compared, and then a lookup that only finds names one edit away.
_COMPARED = 200_000


class Placed(Protocol):
    """Anything with a place in the file; both count from 1."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Mention:
    """A place that names what a stage makes, of one of these `sorts`; `words` may stand there as well."""

    name: str
    line: int
    column: int
    sorts: tuple[str, ...]
    words: tuple[str, ...] = ()


class Report:
    """Collects problems; the same problem at the same place counts once (a template used twice, say). `mentions` are
    the names of artifacts that were read since they were taken out last: whether they mean something is seen once all
    stages are known."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, str], Problem] = {}
        self._unknown: dict[tuple[int, int, str], tuple[str, str, Collection[str]]] = {}
        self.mentions: list[Mention] = []
        self._compared = 0
        self._neighbours: dict[int, dict[str, str]] = {}
        self._answers: dict[int, tuple[Collection[str], dict[str, str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, at: Placed | tuple[int, int], code: str, message: str, hint: str = "") -> None:
        line, column = at if isinstance(at, tuple) else (at.line, at.column)
        self._found.setdefault((line, column, message), Problem(line, column, message, hint, code))

    def unknown(self, at: Placed | tuple[int, int], code: str, what: str, word: str, known: Collection[str]) -> None:
        """Report that `word` is no `what`. The hint is the nearest of `known`, or all of them where they are few; it is
        looked for once the problems are asked for, and only for those that are told."""
        message = f"unknown {what} {shown(word)}"
        self.add(at, code, message)
        line, column = at if isinstance(at, tuple) else (at.line, at.column)
        self._unknown.setdefault((line, column, message), (what, word, known))

    def mentioned(self) -> list[Mention]:
        """Take out what has been mentioned."""
        found, self.mentions = self.mentions, []
        return found

    def _hinted(self, problem: Problem) -> Problem:
        asked = self._unknown.get((problem.line, problem.column, problem.message))
        if asked is None:
            return problem
        what, word, known = asked
        hint = self.nearest(word, known)
        if not hint and len(known) <= 12:
            hint = "use one of: " + ", ".join(sorted(known)) if known else f"the file has no {what}"
        return replace(problem, hint=hint)

    def nearest(self, word: str, known: Collection[str]) -> str:
        """The name of `known` that is most like `word`, or ""."""
        if len(word) > 100:
            return ""
        # Kept with its names, so that their id is not given to another collection meanwhile.
        _, answers = self._answers.setdefault(id(known), (known, {}))
        if word not in answers:
            answers[word] = self._nearest(word, known)
        return answers[word]

    def _nearest(self, word: str, known: Collection[str]) -> str:
        if self._compared > _COMPARED and len(known) > 100:
            return self._one_edit_away(word, known)
        self._compared += sum(map(len, known))
        found = difflib.get_close_matches(word, list(known), 1)
        if not found:
            found = [name for name in known if name.lower() == word.lower()][:1]
        return found[0] if found else ""

    def _one_edit_away(self, word: str, known: Collection[str]) -> str:
        index = self._neighbours.setdefault(id(known), {})
        if not index:
            for name in known:
                for form in _shortened(name):
                    index.setdefault(form, name)
        return next((index[form] for form in _shortened(word) if form in index), "")

    def problems(self) -> tuple[Problem, ...]:
        """All problems in the file's order; past MAX_PROBLEMS the last one says how many more there are."""
        ordered = sorted(self._found.values(), key=lambda problem: (problem.line, problem.column, problem.message))
        told = tuple(map(self._hinted, ordered[:MAX_PROBLEMS]))
        if len(ordered) <= MAX_PROBLEMS:
            return told
        rest = ordered[MAX_PROBLEMS]
        more = Problem(rest.line, rest.column, f"{len(ordered) - MAX_PROBLEMS} more problems follow", code="too-many")
        return (*told, more)


def _shortened(word: str) -> Iterable[str]:
    yield word
    for position in range(len(word)):
        yield word[:position] + word[position + 1 :]


def shown(value: object, limit: int = 60) -> str:
    """`value` in double quotes, on one line, shortened."""
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return f'"{text if len(text) <= limit else text[: limit - 1] + "…"}"'


def format_problems(problems: Sequence[Problem], filename: str, text: str | bytes) -> str:
    """The problems for a terminal: `file:line:column: message (did you mean "x"?)`, the line, and a caret
    under it."""
    source = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    lines = source.removeprefix("\ufeff").splitlines()
    return "".join(_formatted(problem, filename, lines) for problem in problems)


def _formatted(problem: Problem, filename: str, lines: Sequence[str]) -> str:
    head = f"{filename}:{problem.line}:{problem.column}: {problem.message}{_hint(problem.hint)}\n"
    if not 1 <= problem.line <= len(lines):
        return head
    # One character for one: tabs would move the caret, control characters could move the cursor.
    line = "".join(char if char.isprintable() else " " for char in lines[problem.line - 1])
    start = max(0, problem.column - 80)
    return f"{head}    {line[start : start + 120]}\n    {' ' * (problem.column - 1 - start)}^\n"


def _hint(hint: str) -> str:
    """A hint of one word is a name or value to use instead; anything longer is a sentence already."""
    if not hint:
        return ""
    return f" ({hint})" if " " in hint else f' (did you mean "{hint}"?)'
