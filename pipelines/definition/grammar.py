"""The two expression languages of the pipeline file, without eval: tokens, and the parser that both share.

`depends` (in depends.py) is Argo's logic over stage names; `when` (in when.py) compares parameters and facts
of the run. Both join their terms with `&&`, `||`, `!` and parentheses, and every error carries the offset of
its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

MAX_NESTING = 50

Term = TypeVar("Term")


class ExpressionError(ValueError):
    """The expression cannot be understood. `offset` counts characters from 0; `hint` says what would be
    right."""

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Not(Generic[Term]):
    of: Tree[Term]


@dataclass(frozen=True, slots=True)
class All(Generic[Term]):
    of: tuple[Tree[Term], ...]


@dataclass(frozen=True, slots=True)
class Any(Generic[Term]):
    of: tuple[Tree[Term], ...]


Tree: TypeAlias = Term | Not[Term] | All[Term] | Any[Term]


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    offset: int


def tokens(text: str, pattern: re.Pattern[str]) -> list[Token]:
    """Split `text` by a pattern of named groups, each a kind of token; the group `space` is dropped. An `end`
    token closes the list."""
    found, offset = [], 0
    while offset < len(text):
        match = pattern.match(text, offset)
        if match is None:
            raise _strange_character(text, offset)
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup or "", match.group(), offset))
        offset = match.end()
    found.append(Token("end", "", len(text)))
    return found


def _strange_character(text: str, offset: int) -> ExpressionError:
    char = text[offset]
    hints = {"&": "use &&", "|": "use ||", "=": "use ==", "'": "close the quote", '"': "close the quote"}
    if char in "'\"":
        return ExpressionError("the quote that begins here does not end", offset, hints[char])
    return ExpressionError(f"{char!r} is not expected here", offset, hints.get(char, ""))


class Parser(Generic[Term]):
    """Parses `!`, `&&`, `||` and parentheses; `term` reads everything else from the parser it is given."""

    def __init__(self, found: list[Token], term: Callable[[Parser[Term]], Term]) -> None:
        self._tokens = found
        self._next = 0
        self._term = term
        self._depth = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def take(self, kind: str, expected: str = "") -> Token:
        """The next token, which has to be of this kind."""
        token = self.token
        if token.kind != kind:
            raise self.unexpected(expected or kind)
        self._next += 1
        return token

    def accept(self, kind: str) -> Token | None:
        """The next token if it is of this kind, and the one after it is next then."""
        return self.take(kind) if self.token.kind == kind else None

    def unexpected(self, expected: str) -> ExpressionError:
        token = self.token
        found = f'"{token.text[:40]}"' if token.kind != "end" else "the end"
        return ExpressionError(f"expected {expected}, found {found}", token.offset)

    def whole(self) -> Tree[Term]:
        tree = self._any()
        if self.token.kind != "end":
            raise self.unexpected("&&, || or the end")
        return tree

    def _any(self) -> Tree[Term]:
        parts = [self._all()]
        while self.accept("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self) -> Tree[Term]:
        parts = [self._one()]
        while self.accept("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Tree[Term]:
        self._depth += 1
        if self._depth > MAX_NESTING:
            message = f"the expression is nested more than {MAX_NESTING} deep"
            raise ExpressionError(message, self.token.offset, "split it over several stages")
        try:
            if self.accept("not"):
                return Not(self._one())
            if self.accept("open"):
                inner = self._any()
                self.take("close", 'a closing ")"')
                return inner
            return self._term(self)
        finally:
            self._depth -= 1


def written(tree: Tree[Term], term: Callable[[Term], str]) -> str:
    """The tree in its one normal spelling."""
    if isinstance(tree, Not):
        return "!" + _bracketed(tree.of, term)
    if isinstance(tree, All):
        return " && ".join(_bracketed(part, term) for part in tree.of)
    if isinstance(tree, Any):
        return " || ".join(_bracketed(part, term) for part in tree.of)
    return term(tree)


def _bracketed(tree: Tree[Term], term: Callable[[Term], str]) -> str:
    text = written(tree, term)
    return f"({text})" if isinstance(tree, All | Any) else text


def compiled(tree: Tree[Term], term: Callable[[Term], Callable[..., bool]]) -> Callable[..., bool]:
    """A function of one argument that answers the tree, asking `term`'s functions only as far as needed."""
    if isinstance(tree, Not):
        inner = compiled(tree.of, term)
        return lambda known: not inner(known)
    if isinstance(tree, All):
        parts = tuple(compiled(part, term) for part in tree.of)
        return lambda known: all(part(known) for part in parts)
    if isinstance(tree, Any):
        parts = tuple(compiled(part, term) for part in tree.of)
        return lambda known: any(part(known) for part in parts)
    return term(tree)
