"""Reading the documentation: its pages, their shell blocks, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names under which headings can be linked to, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of the page's `sh` blocks as argument lists, without comments and leading assignments. A command
    may go over several lines, by a quote or a backslash."""
    for language, block in _FENCE.findall(page.read_text()):
        if language == "sh":
            yield from _commands(block)


def _commands(block: str) -> Iterator[list[str]]:
    text = ""
    for line in block.splitlines(keepends=True):
        text += line
        if text.endswith("\\\n"):
            text = text.removesuffix("\\\n") + " "
            continue
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # a quote that is still open
            continue
        text = ""
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
            words.pop(0)
        if words:
            yield words
    assert not text.strip(), f"this command has no end: {text}"
