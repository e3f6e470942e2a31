"""What a Dockerfile says about itself before it is built: its base images, its arguments, whether it needs BuildKit.

Reads only; the engine remains the judge of what a Dockerfile means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*(?P<name>\w+)\s*=\s*(?P<value>\S+)\s*")
# A word of a shell, quotes and all; only one that is no more than this begins a heredoc: `$((1<<4))` and `<<<` do not.
_WORD = re.compile(r"(?:\\.|\"(?:\\.|[^\"\\])*\"|'[^']*'|[^\s\\\"'])+")
_HEREDOC = re.compile(r"\d*<<(?P<chomp>-?)(?P<word>[^<]+)")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_FLAG = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S+))?\s+")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::(?P<sign>[-+])(?P<other>[^}]*))?\}|(?P<plain>\w+))")
_SOURCE = re.compile(r"(?:^|,)from=([^,\s]+)")


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a build takes from the engine or a registry. `argument` is the build argument that names it, "" for
    one that is written out; `image` is "" where no argument and no default says what it is, and `written` how the
    Dockerfile puts it."""

    image: str
    line: int
    argument: str = ""
    written: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """`buildkit` says what needs BuildKit, with its line, "" where nothing does. `targets` are the named stages."""

    bases: tuple[Base, ...]
    arguments: frozenset[str]
    targets: frozenset[str]
    buildkit: str = ""


@dataclass(frozen=True, slots=True)
class _Instruction:
    line: int
    word: str
    flags: tuple[tuple[str, str], ...]
    rest: str


def read(text: str, arguments: Mapping[str, str]) -> Facts:
    """`arguments` are the build arguments as they will be handed over."""
    bases: list[Base] = []
    declared: set[str] = set()
    values: dict[str, str] = {}
    targets: set[str] = set()
    stages, buildkit = 0, _syntax(text)
    for each in _instructions(text):
        if each.word == "ARG":
            names = _declared(each.rest)
            declared |= names.keys()
            if not stages:
                values |= {name: arguments.get(name, _expand(default, values)) for name, default in names.items()}
        elif each.word == "FROM":
            image, name = _from(each.rest)
            bases += _base(image, each.line, values, targets)
            stages += 1
            targets |= {name.lower()} if name else set()
        else:
            bases += _others(each, targets, stages)
        buildkit = buildkit or _needs_buildkit(each)
    return Facts(_once(bases), frozenset(declared), frozenset(targets), buildkit)


def _instructions(text: str) -> Iterator[_Instruction]:
    """Whole instructions with the number of their first line; comments and the bodies of heredocs are left out."""
    escape = "`" if dict(_directives(text)).get("escape") == "`" else "\\"
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        whole = line.strip()
        if not whole or whole.startswith("#"):
            continue
        while whole.endswith(escape):
            _, more = next(lines, (0, ""))
            more = more.strip()
            whole = whole[:-1] + (" " + more if not more.startswith("#") else escape)
        word, _, rest = whole.partition(" ")
        if word.upper() in _WITH_HEREDOCS:
            for chomp, end in _heredocs(rest):
                while (more := next(lines, (0, end))[1]) != end and not (chomp and more.lstrip("\t") == end):
                    pass
        yield _instruction(number, word.upper(), rest.strip())


def _heredocs(rest: str) -> list[tuple[bool, str]]:
    """(whether its lines may begin with tabs, the line that ends it) of each heredoc of an instruction."""
    if rest.lstrip().startswith("["):
        return []
    found = (_HEREDOC.fullmatch(word) for word in _WORD.findall(rest))
    return [(bool(match["chomp"]), re.sub(r"[\"'\\]", "", match["word"])) for match in found if match]


def _instruction(line: int, word: str, rest: str) -> _Instruction:
    flags = []
    while match := _FLAG.match(rest):
        flags.append((match["name"], match["value"] or ""))
        rest = rest[match.end() :]
    return _Instruction(line, word, tuple(flags), rest)


def _directives(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            return
        yield match["name"].lower(), match["value"]


def _syntax(text: str) -> str:
    found = dict(_directives(text)).get("syntax", "")
    return f"line 1 asks for the frontend {found}" if found else ""


def _needs_buildkit(each: _Instruction) -> str:
    for name, _ in each.flags:
        if (each.word, name) in {("RUN", "mount"), ("RUN", "network"), ("RUN", "security")} or name in (
            "link",
            "chmod",
            "parents",
        ):
            return f"line {each.line} has {each.word} --{name}"
    if each.word in _WITH_HEREDOCS and _heredocs(each.rest):
        return f"line {each.line} has a heredoc"
    return ""


def _declared(rest: str) -> dict[str, str]:
    found = {}
    for part in rest.split():
        name, _, default = part.partition("=")
        found[name] = default.strip("\"'")
    return found


def _from(rest: str) -> tuple[str, str]:
    parts = rest.split()
    named = len(parts) == 3 and parts[1].upper() == "AS"
    return (parts[0] if parts else ""), (parts[2] if named else "")


def _base(image: str, line: int, values: Mapping[str, str], targets: set[str]) -> list[Base]:
    if image.lower() in targets or image == "scratch":
        return []
    variable = _VARIABLE.search(image)
    argument = (variable["braced"] or variable["plain"]) if variable else ""
    found = _expand(image, values)
    return [] if found.lower() in targets or found == "scratch" else [Base(found, line, argument, image)]


def _others(each: _Instruction, targets: set[str], stages: int) -> Iterator[Base]:
    """Images that files are taken from: COPY --from=IMAGE, RUN --mount=from=IMAGE."""
    for name, value in each.flags:
        sources = [value] if name == "from" else _SOURCE.findall(value) if name == "mount" else []
        for source in sources:
            number = source.isdecimal() and int(source) < stages
            if source.lower() not in targets and not number and source != "scratch":
                yield Base(source, each.line, "", source)


def _expand(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        found = values.get(match["braced"] or match["plain"], "")
        if match["sign"] == "-":
            return found or match["other"]
        if match["sign"] == "+":
            return match["other"] if found else ""
        return found

    return _VARIABLE.sub(value, text)


def _once(bases: list[Base]) -> tuple[Base, ...]:
    return tuple({base.image: base for base in reversed(bases)}.values())[::-1]
