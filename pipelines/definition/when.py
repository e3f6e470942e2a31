"""`when`: a condition over parameters and facts of the run, such as `run.branch == 'main' &&
parameters.fast`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipelines.definition.grammar import ExpressionError, Parser, Tree, compiled, tokens
from pipelines.definition.placeholders import PARAMETER_NAME, fill

Context = Mapping[str, Mapping[str, Any]]
Operand = Callable[[Context], str]
Test = Callable[[Context], bool]

_TOKENS = re.compile(
    r"(?P<space>\s+)|(?P<and>&&)|(?P<or>\|\|)|(?P<equal>==)|(?P<unequal>!=)|(?P<not>!)|(?P<open>\()|(?P<close>\))"
    r"|(?P<begin>\[)|(?P<finish>\])|(?P<comma>,)|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<placeholder>\{\{[^{}]{0,200}\}\})|(?P<number>-?\d+(\.\d+)?(?![\w.-]))|(?P<word>[A-Za-z_][\w-]*(\.[\w-]+)*)",
    re.ASCII | re.DOTALL,
)
RUN_FACTS = ("branch", "commit", "number", "ref", "tag", "trigger")
_FALSE = frozenset({"", "false", "0"})
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


@dataclass(frozen=True, slots=True)
class Name:
    """A name of an expression: `scope` is parameters, run or stages; of a stage only its state can be
    asked."""

    scope: str
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed `when`. `names` are all that it mentions, in order, those in placeholders of its strings
    too."""

    text: str
    tree: Tree[Test]
    names: tuple[Name, ...]


class _Reader:
    """Reads the terms of one expression and remembers the names it met."""

    def __init__(self) -> None:
        self.names: list[Name] = []

    def term(self, parser: Parser[Test]) -> Test:
        left = self.operand(parser)
        if parser.accept("equal"):
            return _compared(left, self.operand(parser), wanted=True)
        if parser.accept("unequal"):
            return _compared(left, self.operand(parser), wanted=False)
        if parser.token.kind == "word" and parser.token.text == "in":
            parser.take("word")
            return self.contained(left, parser)
        return lambda context: left(context) not in _FALSE

    def contained(self, left: Operand, parser: Parser[Test]) -> Test:
        if not parser.accept("begin"):
            whole = self.operand(parser)
            return lambda context: left(context) in whole(context)
        items = []
        while not parser.accept("finish"):
            items.append(self.operand(parser))
            if parser.token.kind != "finish":
                parser.take("comma", '"," or "]"')
        return lambda context: any(_same(left(context), item(context)) for item in items)

    def operand(self, parser: Parser[Test]) -> Operand:
        token = parser.token
        if token.kind == "string":
            parser.take("string")
            return self.text(token.text[1:-1], token.offset + 1)
        if token.kind == "placeholder":
            parser.take("placeholder")
            return self.name(token.text[2:-2].strip(), token.offset + 2)
        if token.kind == "number" or token.text in ("true", "false"):
            parser.take(token.kind)
            return lambda _: token.text
        if token.kind == "word" and token.text != "in":
            parser.take("word")
            return self.name(token.text, token.offset)
        raise parser.unexpected("a name, a number or a quoted text")

    def text(self, text: str, offset: int) -> Operand:
        if "{{" not in text:
            return lambda _: text
        for match in re.finditer(r"\{\{\s*([\w.-]+)\s*\}\}", text):
            self.name(match[1], offset + match.start(1))
        return lambda context: fill(text, lambda scope, name: _fact(context, scope, name))

    def name(self, dotted: str, offset: int) -> Operand:
        scope, _, name = dotted.partition(".")
        if scope == "stages":
            return self.stage(name, offset)
        if scope == "run" and name not in RUN_FACTS:
            raise ExpressionError(f'a run has no "{name}"', offset, _near(name))
        if scope not in ("run", "parameters") or not re.fullmatch(PARAMETER_NAME, name):
            hint = f"write '{dotted}' for a text" if "." not in dotted else "use parameters, run or stages"
            raise ExpressionError(f'"{dotted[:40]}" is not known in a condition', offset, hint)
        self.names.append(Name(scope, name, offset))
        return lambda context: _fact(context, scope, name)

    def stage(self, rest: str, offset: int) -> Operand:
        name, dot, field = rest.partition(".")
        if not dot or field != "state":
            raise ExpressionError("of a stage only its state is known", offset, f"stages.{name or 'NAME'}.state")
        self.names.append(Name("stages", name, offset))
        return lambda context: _fact(context, "stages", name)


def parse_when(text: str) -> Condition:
    """Parse a condition; raises ExpressionError with the offset of what is wrong."""
    reader = _Reader()
    tree = Parser(tokens(text, _TOKENS), reader.term).whole()
    return Condition(text, tree, tuple(reader.names))


@lru_cache(maxsize=4096)
def _answer(text: str) -> Test:
    tree = parse_when(text).tree
    return compiled(tree, _itself)


def _itself(term: Test) -> Test:
    return term


def evaluate_when(parsed: Condition | str, context: Context) -> bool:
    """Whether the condition is true.

    `context` holds `parameters` and `run` (name to text) and `stages` (name to state, or to a mapping with a
    `state`); what they lack is "". Comparisons are of text, but two numbers are equal by value. A name alone
    is true unless it is "", "false" or "0".
    """
    return _answer(parsed if isinstance(parsed, str) else parsed.text)(context)


def _fact(context: Context, scope: str, name: str) -> str:
    found = context.get(scope, {}).get(name, "")
    if isinstance(found, Mapping):
        found = found.get("state", "")
    return str(found).lower() if isinstance(found, bool) else str(found)


def _near(name: str) -> str:
    found = difflib.get_close_matches(name, RUN_FACTS, 1)
    return f"run.{found[0]}" if found else "use one of: " + ", ".join(RUN_FACTS)


def _compared(left: Operand, right: Operand, *, wanted: bool) -> Test:
    return lambda context: _same(left(context), right(context)) is wanted


def _same(left: str, right: str) -> bool:
    if left == right:
        return True
    return bool(_NUMBER.fullmatch(left) and _NUMBER.fullmatch(right)) and float(left) == float(right)
