"""Secrets are replaced by `***` in all that leaves: as they are, encoded, and broken into lines and columns.

Encoded: base64 (also twice), base32, hex, URL and HTML encoding, escapes of JSON, Python and shells. A tool may put
colours, white space, `\\x`, commas or the addresses of a dump between any two characters of these; so each text is
looked at in several views, from which that is taken away.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from urllib.parse import quote, quote_plus

MASK = "***"

# Shorter encodings and lines are found in ordinary text by chance.
_SHORTEST = 4
_SHORTEST_IN_VIEW = 6
# An end of a view that may begin a secret is held back from this length on; what is shorter gives nothing away.
_BEGINNING = 3
# Where `base64` and PEM break their lines.
_WRAPS = (76, 64)
# Characters of a dump for one of a secret: its digits, what stands between them, the columns at both ends of a line.
_SPREAD = 8

_NEW_LINE = r"\r?\n"
_ADDRESS = _NEW_LINE + r"[0-9a-fA-F]{6,8}:?(?=[ \t])"
# What terminals do not show: colours, titles.
_UNSEEN = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
_UNSEEN_BEGINS = r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?"
# Between the characters of a text.
_BREAKS = rf"{_UNSEEN}|[ \t]*{_ADDRESS}|\s+|(?:\\{{1,4}}r)?\\{{1,4}}n"
# Between the digits of bytes; a dump may show the text itself at the end of its lines.
_BETWEEN_BYTES = (
    rf"[ \t]{{0,60}}(?:\|[^\n]{{0,16}}\||  [^\n]{{1,16}})?{_ADDRESS}|\\{{1,4}}(?:x|u00)|&\#x|0[xX]|[\s,:;%\"'-]+"
)
# Between two lines of the text at the end of a dump's lines.
_BETWEEN_COLUMNS = rf"\|?{_ADDRESS}[ \t]+(?:[0-9a-fA-F]{{2,4}}[ \t]{{1,3}}){{1,16}}[ \t]*\|?"
# The same at the end of a text, where the rest of it is still to come.
_NEXT_ADDRESS = rf"(?:{_NEW_LINE}[0-9a-fA-F]{{0,8}}:?)?[ \t]*"
_BREAK_BEGINS = rf"(?:\\{{1,4}}(?:r\\{{0,4}})?|{_UNSEEN_BEGINS}|{_NEXT_ADDRESS})"
_BYTES_END = (
    rf"(?:\\{{1,4}}(?:u0?)?|&\#?|[\s,:;%\"'-]0|[ \t]{{0,60}}(?:\|[^\n]{{0,16}}\|?|  [^\n]{{0,16}})?{_NEXT_ADDRESS})"
)
_COLUMN_ENDS = (
    rf"\|?(?:{_NEW_LINE}[0-9a-fA-F]{{0,8}}:?[ \t]*(?:[0-9a-fA-F]{{2,4}}[ \t]{{1,3}}){{0,16}}[0-9a-fA-F]{{0,4}}[ \t]*)?"
)
_LONGEST_END = 160

_FOLD = str.maketrans("ABCDEF", "abcdef")

_NOWHERE = sys.maxsize

Span = tuple[int, int]


class Masker:
    """Replaces values, and the usual encodings of them, by `***`. Ends of lines stay where they are."""

    def __init__(self, values: Iterable[str]) -> None:
        values = [value for value in values if value.strip()]
        whole = [value.strip().encode("utf-8", "surrogateescape") for value in values]
        whole = [data for data in whole if len(data) >= _SHORTEST]
        self._forms = list({form: None for value in values for form in _forms(value)})
        self._views = [
            _View(_BREAKS, _BREAK_BEGINS, (form for data in whole for form in _unbroken(data))),
            _View(r"\\+", r"\\+", (data.decode("utf-8", "surrogateescape").replace("\\", "") for data in whole)),
            _View(_BETWEEN_BYTES, _BYTES_END, (form for data in whole for form in _digits(data)), fold=True),
            _View(_BETWEEN_COLUMNS, _COLUMN_ENDS, (form for data in whole for form in _shown(data))),
        ]
        # As many characters before a piece may belong to a secret that ends in it.
        self.context = max([len(data) * _SPREAD for data in whole] + [len(form) * 2 for form in self._all()], default=0)

    def _all(self) -> Iterator[str]:
        yield from self._forms
        for view in self._views:
            yield from view.forms

    def mask(self, text: str, start: int = 0, end: int | None = None) -> str:
        """What stands in `text` from `start` to `end`, without secrets: also without the parts of those that begin
        before `start` or end after `end`."""
        at, end = start, len(text) if end is None else end
        told: list[str] = []
        for first, after in self._spans(text):
            first, after = max(first, at), min(after, end)
            if after > first:
                told += [text[at:first], _hidden(text[first:after])]
                at = after
        return "".join([*told, text[at:end]])

    def stream(self) -> MaskedStream:
        """For text that comes in pieces."""
        return MaskedStream(self)

    def cut(self, text: str, start: int = 0) -> int:
        """Up to where `text` can be told from `start` on, whatever follows it."""
        early = max(0, len(text) - self.context)  # no secret that reaches beyond the end begins there
        late = text[early:]
        begins = [_beginning_at_end(late, form) for form in self._forms]
        cut = min([len(late), *begins, *(view.beginning_at_end(late) for view in self._views)])
        # A secret is told in one piece if it can be: one that repeats itself would never be told.
        least = start + (len(text) - start > self.context)
        whole = [first for first, end in self._spans(late) if first < cut < end and first + early >= least]
        return max(start, early + min([cut, *whole]))

    def _spans(self, text: str) -> list[Span]:
        """Where secrets are, in order; those that overlap are one."""
        found = [span for form in self._forms for span in _found(text, form)]
        found += [span for view in self._views for span in view.spans(text)]
        merged: list[Span] = []
        for begin, end in sorted(found):
            if merged and begin < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged


class MaskedStream:
    """Masks text that comes in pieces; holds back an end that may be the beginning of a secret."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._told, self._held = masker, "", ""

    def feed(self, text: str) -> str:
        return self._tell(self._held + text, final=False)

    def end(self) -> str:
        """What was still held back."""
        return self._tell(self._held, final=True)

    def _tell(self, text: str, *, final: bool) -> str:
        start = len(self._told)
        window = self._told + text
        cut = len(window) if final else self._masker.cut(window, start)
        self._held = window[cut:]
        self._told = window[max(0, cut - self._masker.context) : cut]
        return self._masker.mask(window, start, cut)


class _View:
    """The text without what `between` matches, and the forms that are looked for there; `begun` matches the beginning
    of something like that at the end of a text."""

    def __init__(self, between: str, begun: str, forms: Iterable[str], *, fold: bool = False) -> None:
        self._between, self._begun, self._fold = re.compile(between), re.compile(rf"{begun}\Z"), fold
        self.forms = list({form: None for form in forms if len(form) >= _SHORTEST_IN_VIEW})

    def spans(self, text: str) -> list[Span]:
        if not self.forms:
            return []
        seen = self._seen(text)
        found = [span for form in self.forms for span in _found(seen, form)]
        return self._in_text(text, found) if found else []

    def beginning_at_end(self, text: str) -> int:
        """Where in `text` an end of the view begins that one of the forms could continue; else far beyond."""
        if not self.forms:
            return _NOWHERE
        begun = self._begun.search(text, max(0, len(text) - _LONGEST_END))
        return min(self._beginning_at_end(text), self._beginning_at_end(text[: begun.start()] if begun else text))

    def _beginning_at_end(self, text: str) -> int:
        seen = self._seen(text)
        at = min(_beginning_at_end(seen, form) for form in self.forms)
        return self._in_text(text, [(at, len(seen))])[0][0] if at <= len(seen) - _BEGINNING else _NOWHERE

    def _seen(self, text: str) -> str:
        seen = self._between.sub("", text)
        return seen.translate(_FOLD) if self._fold else seen

    def _in_text(self, text: str, spans: Sequence[Span]) -> list[Span]:
        """Where stretches of the view are in `text`."""
        begins, ends, at = [], [], 0
        for match in self._between.finditer(text):
            if match.start() > at:
                begins.append(at)
                ends.append(match.start())
            at = match.end()
        if at < len(text):
            begins.append(at)
            ends.append(len(text))
        before = [0, *accumulate(end - begin for begin, end in zip(begins, ends, strict=True))]

        def place(index: int) -> int:
            part = bisect_right(before, index) - 1
            return begins[part] + index - before[part]

        return [(place(begin), place(end - 1) + 1) for begin, end in spans]


def _hidden(text: str) -> str:
    return re.sub(r"[^\r\n]+", MASK, text)


def _found(text: str, form: str) -> Iterator[Span]:
    """Also those that overlap: where the first one begins may be told already."""
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _beginning_at_end(text: str, form: str) -> int:
    """Where the longest end of `text` begins that `form` could continue; the length of `text` if there is
    none."""
    start = text.find(form[0], max(0, len(text) - len(form) + 1))
    while start >= 0:
        if form.startswith(text[start:]):
            return start
        start = text.find(form[0], start + 1)
    return len(text)


# --- how a secret may look --------------------------------------------------------------------------------


def _forms(value: str) -> Iterator[str]:
    """The value and its encodings, and the same of each of its lines, as they stand in one piece."""
    whole, lines = value.strip(), value.splitlines()
    for part in {whole, *(line.strip() for line in lines)}:
        if part == whole or len(part) >= _SHORTEST:
            yield part
        if len(part) >= _SHORTEST:
            yield from (form for form in _encodings(part) if len(form) >= _SHORTEST)


def _encodings(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogateescape")
    yield data.hex()
    yield data.hex().upper()
    yield from _base64(data)
    yield from _base32(data)
    for text in (quote(value), quote(value, safe=""), quote_plus(value)):
        yield text
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield text[1:-1]
        yield text[1:-1].replace("/", "\\/")
        yield json.dumps(text)[1:-1].removeprefix('\\"').removesuffix('\\"')
        yield from _without_markup(text[1:-1])
    yield from _without_markup(value, [_SCRIPT])
    yield quote(quote(value, safe=""), safe="")
    yield data.decode("ascii", "ignore").replace("=", "=3D")
    yield repr(value)[1:-1]
    yield repr(data)[2:-1]
    yield html.escape(value)
    yield "".join(f"&#{ord(character)};" for character in value)
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield value.replace("'", "'\\''")
    yield "".join(f"\\{byte:03o}" for byte in data)
    yield "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in data)


# What JSON and JavaScript may write as \\u00XX where it is to stand in HTML: Go, PHP, Django.
_MARKUP = ("&<>", "&<>'")
_SCRIPT = "\\&<>'\"=-;`"


def _without_markup(text: str, sets: Iterable[str] = _MARKUP) -> Iterator[str]:
    for characters in sets:
        for digits in ("02x", "02X"):
            yield text.translate({ord(one): f"\\u00{ord(one):{digits}}" for one in characters})


def _in_json(data: bytes) -> Iterator[bytes]:
    """As it stands in JSON, where that is not as it is."""
    value = data.decode("utf-8", "surrogateescape")
    for text in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        for form in {text, *_without_markup(text)} - {value}:
            yield form.encode("utf-8", "surrogateescape")


def _unbroken(data: bytes) -> Iterator[str]:
    """What is looked for where all white space was taken away: `env | base64`, `od -c`, a list of numbers."""
    yield "".join(data.decode("utf-8", "surrogateescape").split())
    yield from _of_base64(data)
    yield from _base32(data)
    for text in _in_json(data):  # .dockerconfigjson, the answers of Vault
        yield from _of_base64(text)
    yield ",".join(map(str, data))
    # A Secret of Kubernetes that holds a file of passwords encoded by themselves, and `base64 | base64`.
    for encoded in [*_of_base64(data), *_wrapped(data)]:
        yield from _of_base64(encoded.encode())


def _digits(data: bytes) -> Iterator[str]:
    """As bytes in hex and octal, and as the words of two and four of them that `hexdump` and `od` print."""
    yield data.hex()
    yield "".join(f"{byte:03o}" for byte in data)
    for first in range(2):
        words = [int.from_bytes(data[at : at + 2], "little") for at in range(first, len(data) - 1, 2)]
        for form in ("04x", "06o", "d"):
            yield "".join(f"{word:{form}}" for word in words)
    for first in range(4):
        yield "".join(data[at : at + 4][::-1].hex() for at in range(first, len(data) - 3, 4))


def _shown(data: bytes) -> Iterator[str]:
    """As the column of text beside a dump."""
    yield "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def _base64(data: bytes) -> Iterator[str]:
    """Also the lines of it where tools break them."""
    yield from _of_base64(data)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode().rstrip("=")
        for width in _WRAPS:
            if len(whole) > width:
                yield from (whole[start : start + width] for start in range(0, len(whole), width))


def _of_base64(data: bytes) -> Iterator[str]:
    """The characters that depend on `data` alone, for each of the three places at which it may stand in what is
    encoded with it, in both alphabets."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(bytes(before) + data).decode()
            yield text[-(-8 * before // 6) : (before + len(data)) * 8 // 6]


def _base32(data: bytes) -> Iterator[str]:
    """As `_of_base64`, for five places."""
    for encode in (base64.b32encode, base64.b32hexencode):
        for before in range(5):
            text = encode(bytes(before) + data).decode()[-(-8 * before // 5) : (before + len(data)) * 8 // 5]
            yield text
            yield text.lower()


def _wrapped(data: bytes) -> Iterator[str]:
    """The characters of base64 that depend on `data` alone, with the line end that is among them, for each place at
    which it may stand in a line."""
    width = _WRAPS[0]
    for before in range(width * 3 // 4):
        whole = base64.b64encode(bytes(before) + data).decode()
        begin, end = -(-8 * before // 6), (before + len(data)) * 8 // 6
        lines = [whole[max(begin, at) : min(end, at + width)] for at in range(0, end, width)]
        if sum(map(bool, lines)) > 1:
            yield "\n".join(filter(None, lines))
