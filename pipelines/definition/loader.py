"""YAML text to nodes that know their place. Reads untrusted text: nothing is constructed, nothing recurses.

Scalars follow YAML 1.2, so `on`, `yes` and `12:30` are text. Works on the parser's events, with libyaml where
PyYAML has it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import yaml

from pipelines.definition.report import Report, shown

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
# A 1 MiB file of 10,000 stages has about 150,000 nodes. What an alias repeats counts each time.
MAX_NODES = 250_000

_EventLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMERIC_START = frozenset("0123456789+-.")


class Node:
    """One value of the file. `line` and `column` count from 1.

    `text` is a scalar's text as written and `value` what it means (str, int, float, bool or None). `items`
    holds a list's nodes, or a mapping's pairs of nodes. `size` counts the node and everything in it.
    """

    __slots__ = ("column", "items", "kind", "line", "size", "span", "text", "value")

    def __init__(self, kind: Literal["scalar", "list", "map"], line: int, column: int) -> None:
        self.kind = kind
        self.line = line
        self.column = column
        self.text = ""
        self.value: str | int | float | bool | None = None
        self.items: list[Any] = []
        self.size = 1
        self.span = -1

    def at(self, offset: int) -> tuple[int, int]:
        """The place of the character at `offset` of a scalar's text, or the scalar's start where it has
        escapes, or several lines."""
        quotes = self.span - len(self.text)
        return (self.line, self.column + offset + quotes // 2) if quotes in (0, 2) else (self.line, self.column)

    def get(self, key: str) -> Node | None:
        """The value at `key` of a mapping; None for anything else."""
        if self.kind != "map":
            return None
        return next((value for name, value in self.items if name.text == key), None)

    def plain(self) -> Any:
        """The node as Python values."""
        if self.kind == "scalar":
            return self.value
        if self.kind == "list":
            return [item.plain() for item in self.items]
        return {key.text: value.plain() for key, value in self.items}

    @property
    def described(self) -> str:
        """What was found here, for a message."""
        if self.kind != "scalar":
            return "a list" if self.kind == "list" else "a mapping"
        if self.value is None:
            return "nothing"
        return shown(self.text) if isinstance(self.value, str) else self.text


def scalar(text: str, value: str | float | bool | None, like: Node) -> Node:
    """A scalar at the place of `like`."""
    node = Node("scalar", like.line, like.column)
    node.text = text
    node.value = value
    return node


class _RefusedError(Exception):
    """Reading stops here; the problem has been reported."""


def load(text: bytes | str, report: Report) -> Node | None:
    """The file's one document, or None once something makes it unreadable (reported)."""
    found = _load(text, _Builder(report))
    return found[0] if found else None


def load_all(text: bytes | str, report: Report) -> list[Node]:
    """All documents of the file that hold something. Once something makes the file unreadable (reported), those
    that end before it."""
    return _load(text, _Builder(report, several=True))


def _load(text: bytes | str, builder: _Builder) -> list[Node]:
    report = builder.report
    decoded = _decode(text, report)
    if decoded is None:
        return []
    try:
        loader = _EventLoader(decoded)
        try:
            builder.build(loader)
        finally:
            loader.dispose()
    except _RefusedError:
        pass
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "?")
        place = _place_of_character(decoded, code)
        report.add(place, "yaml", f"the character U+{code:04X} is not allowed in YAML", "remove it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        report.add(place, "yaml", f"this is not valid YAML: {error.problem or error.context}")
    else:
        return builder.ended
    return builder.ended if builder.several else []


def _decode(text: bytes | str, report: Report) -> str | None:
    # Twice the limit of characters cannot fit, so an absurd text is not even encoded.
    if len(text) > MAX_BYTES or (isinstance(text, str) and len(text.encode("utf-8", "replace")) > MAX_BYTES):
        report.add((1, 1), "too-large", "the file is larger than 1 MiB", "split the pipeline, or use templates")
        return None
    try:
        if isinstance(text, str):
            text = text.encode("utf-8")
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.add(place, "encoding", f"the byte 0x{error.object[error.start]:02x} is not UTF-8", "save it as UTF-8")
    except UnicodeEncodeError as error:
        before = str(error.object)[: error.start]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.add(place, "encoding", "a lone surrogate is not text", "remove it")
    return None


def _place_of_character(text: str, code: int) -> tuple[int, int]:
    index = max(text.find(chr(code)), 0)
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class _Builder:
    """Builds nodes from events, with a stack of its own in place of recursion. `ended` are the documents so far that
    hold something."""

    def __init__(self, report: Report, *, several: bool = False) -> None:
        self.report = report
        self.several = several
        self.ended: list[Node] = []
        self.nodes = 0
        self.anchors: dict[str, Node] = {}
        self.open: list[Node] = []
        self.keys: list[Node | None] = []
        self.root: Node | None = None

    def build(self, loader: Any) -> None:
        get_event = loader.get_event
        while True:
            event = get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self.add(self.scalar(event))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self.start(event, "map" if kind is yaml.MappingStartEvent else "list")
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.end()
            elif kind is yaml.AliasEvent:
                self.alias(event)
            elif kind is yaml.DocumentEndEvent:
                self.document()
            elif kind is yaml.DocumentStartEvent and self.ended and not self.several:
                self.ended.clear()
                self.refuse(event, "documents", "a second YAML document begins here", "keep one document in a file")
            elif kind is yaml.StreamEndEvent:
                break
        if not self.ended:
            hint = "" if self.several else "a pipeline needs at least name and stages"
            self.report.add((1, 1), "empty", "the file is empty", hint)

    def document(self) -> None:
        if self.root is not None and (self.root.kind != "scalar" or self.root.value is not None):
            self.ended.append(self.root)
        # Each document has anchors of its own; what they all hold counts together.
        self.root, self.anchors = None, {}

    def refuse(self, event: Any, code: str, message: str, hint: str) -> None:
        mark = event.start_mark
        self.report.add((mark.line + 1, mark.column + 1), code, message, hint)
        raise _RefusedError

    def count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"the file has more than {MAX_NODES:,} values, those that aliases repeat included"
            self.refuse(event, "too-large", message, "split the pipeline, or use templates")

    def check_tag(self, event: Any) -> None:
        if event.tag is not None:
            message = f"the tag {shown(event.tag)} is not allowed"
            self.refuse(event, "tag", message, "write the value without a tag, text in quotes")

    def scalar(self, event: Any) -> Node:
        self.check_tag(event)
        mark, end, text = event.start_mark, event.end_mark, event.value
        node = Node("scalar", mark.line + 1, mark.column + 1)
        node.text = text
        node.value = _meaning(text) if event.implicit[0] else text
        if mark.line == end.line:
            node.span = end.column - mark.column
        if "\0" in text:  # by an escape: programs and PostgreSQL take no such text
            self.report.add(node, "encoding", "the text holds the character U+0000", "remove it")
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.count(event, 1)
        return node

    def start(self, event: Any, kind: Literal["list", "map"]) -> None:
        self.check_tag(event)
        if len(self.open) >= MAX_DEPTH:
            self.refuse(event, "too-deep", f"values are nested more than {MAX_DEPTH} deep", "make the file flatter")
        node = Node(kind, event.start_mark.line + 1, event.start_mark.column + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.count(event, 1)
        self.open.append(node)
        self.keys.append(None)

    def end(self) -> None:
        self.keys.pop()
        self.add(self.open.pop())

    def alias(self, event: Any) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            self.refuse(event, "yaml", f"there is no anchor &{event.anchor} above", "define it before it is used")
            return
        if any(node is outer for outer in self.open):
            self.refuse(event, "yaml", f"the alias *{event.anchor} is inside its own anchor", "write it out")
        self.count(event, node.size)
        self.add(node)

    def add(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += node.size
        if parent.kind == "list":
            parent.items.append(node)
            return
        key = self.keys[-1]
        if key is None:
            self.keys[-1] = self.checked_key(node)
        else:
            self.keys[-1] = None
            parent.items.append((key, node))

    def checked_key(self, node: Node) -> Node:
        if node.kind != "scalar":
            self.report.add(node, "yaml", f"a key has to be text, and here it is {node.described}")
            raise _RefusedError
        if node.text == "<<":
            self.report.add(node, "yaml", "merge keys (<<) are not supported", "use templates to share settings")
            raise _RefusedError
        return node


def _meaning(text: str) -> str | int | float | bool | None:
    """What a plain scalar means in YAML 1.2's core schema, without its rarer spellings."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMERIC_START:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
