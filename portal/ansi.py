"""A log as HTML: a terminal's colours become classes, its other escape sequences go. Pure."""

from __future__ import annotations

import re
from html import escape

from portal.visible import formats

_SEQUENCE = re.compile(
    r"\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_()][0-9A-B]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


def to_html(text: str) -> str:
    """Safe HTML. A line that was drawn over and over (a progress bar) is shown as it was in the end."""
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    parts: list[str] = []
    classes: list[str] = []
    position = 0
    for match in _SEQUENCE.finditer(text):
        parts.append(_span(text[position : match.start()], classes))
        position = match.end()
        if match[1] is not None:
            classes = _after(match[1], classes)
    parts.append(_span(text[position:], classes))
    return "".join(parts)


def _span(text: str, classes: list[str]) -> str:
    text = escape(formats(_CONTROL.sub("", text)))
    return f'<span class="{" ".join(classes)}">{text}</span>' if text and classes else text


def _after(codes: str, classes: list[str]) -> list[str]:
    """The classes that hold after a sequence that sets colours."""
    for code in codes.replace(":", ";").split(";"):
        number = int(code[:4]) if code else 0
        if number == 0:
            classes = []
        elif number == 1:
            classes = [*_without(classes, "ansi-bold"), "ansi-bold"]
        elif number in (38, 48):
            return classes  # of 256 colours: what follows are its parameters
        elif 30 <= number <= 37 or 90 <= number <= 97:
            colour = f"ansi-{_COLOURS[number % 10]}"
            classes = [*(one for one in classes if one == "ansi-bold"), colour]
        elif number == 39:
            classes = [one for one in classes if one == "ansi-bold"]
        elif number == 22:
            classes = _without(classes, "ansi-bold")
    return classes


def _without(classes: list[str], name: str) -> list[str]:
    return [one for one in classes if one != name]
