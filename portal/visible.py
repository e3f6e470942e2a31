r"""What nobody can see, made visible: characters that steer a terminal, turn the order of what is read, or have no
picture. Whoever approves a plan has to see all of it. Pure.

Each is shown as programs write it: \x1b, \u202e, \U000e0041. Line ends and tabs stay, and so does what makes one
picture of several emoji.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
# Formats, fillers, separators of lines, variation selectors, tags, half characters.
_UNSEEN = (
    r"\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff\ud800-\udfff"
)
# Each is one set of characters, which is quick to look for.
_HIDDEN = re.compile(f"[{_CONTROLS}{_UNSEEN}]")
# What is left of it in a log, whose controls are taken out, and on a page, where a carriage return is a space.
_FORMATS = re.compile(f"[{_UNSEEN}]")
_ON_PAGES = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_UNSEEN}]")
_JOINED = re.compile("(?<=[\u2190-\u27bf\u2900-\u2bff\U0001f000-\U0001faff\ufe0f])[\ufe0f\u200d]")
_TYPED = re.compile(r"(<textarea\b.*?</textarea>)", re.DOTALL)
_SEQUENCE = re.compile(
    r"\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|" + f"[{_CONTROLS}]"
)
# Bold, and colours that no usual background has; and their ends.
_COLOURS = {"", "0", "1", "22", "39", *map(str, (*range(31, 37), *range(91, 97)))}


def visible(text: str) -> str:
    return _HIDDEN.sub(_escaped, text)


def hidden(text: str) -> list[int]:
    """Where something is that cannot be seen, as offsets into the text."""
    return [match.start() for match in _HIDDEN.finditer(text) if not _is_of_emoji(match)]


def in_page(html: str) -> str:
    """A page of text that came from anywhere; what people typed into a form stays as it was."""
    if not _ON_PAGES.search(html):
        return html
    parts = _TYPED.split(html)
    return "".join(part if i % 2 else _ON_PAGES.sub(_escaped, part) for i, part in enumerate(parts))


def in_log(text: str) -> str:
    """What a command printed, for a terminal: it may have colours, and steers and hides nothing."""
    return _FORMATS.sub(_escaped, _SEQUENCE.sub(_colour, text))


def formats(text: str) -> str:
    """Text whose controls somebody else looks after."""
    return _FORMATS.sub(_escaped, text)


def every(value: Any, show: Callable[[str], str] = visible) -> Any:
    """Plain data with all of its texts shown."""
    if isinstance(value, str):
        return show(value)
    if isinstance(value, dict):
        return {name: every(item, show) for name, item in value.items()}
    return [every(item, show) for item in value] if isinstance(value, list) else value


def in_json(text: str) -> str:
    """JSON that means the same, in which nothing is hidden."""
    return _HIDDEN.sub(partial(_escaped, json=True), text)


def _is_of_emoji(match: re.Match[str]) -> bool:
    """Whether it only chooses or joins pictures."""
    return match[0] in "\ufe0f\u200d" and _JOINED.match(match.string, match.start()) is not None


def _escaped(match: re.Match[str], *, json: bool = False) -> str:
    if _is_of_emoji(match):
        return match[0]
    code = ord(match[0])
    if json and code > 0xFFFF:
        high, low = divmod(code - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    if code < 0x100 and not json:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _colour(match: re.Match[str]) -> str:
    if match[1] is None:
        return ""
    codes = match[1].replace(":", ";").split(";")
    # Of 256 colours and more: what follows are its parameters, which nobody can tell from a background.
    kept = codes[: next((i for i, code in enumerate(codes) if code in ("38", "48", "58")), len(codes))]
    kept = [code for code in kept if code in _COLOURS]
    return f"\x1b[{';'.join(kept)}m" if kept else ""
