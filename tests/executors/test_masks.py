"""A secret is replaced however it was encoded, broken into lines and cut into pieces."""

from __future__ import annotations

import base64
import html
import json
import quopri
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from django.utils.html import escapejs
from hypothesis import given
from hypothesis import strategies as st

from pipelines.executors.ansible_child import masked as masked_value
from pipelines.executors.masks import Masker
from pipelines.executors.output import READ_SIZE, Output

SECRET = "pa/ss+wörd 'q\"uote\\ <&> 0123456789"
# Of letters and digits alone, so that what is left of it is seen by eye.
PLAIN = "Zr7wq0PbX2mT9sLd5KfYh3Vj8NcQ1aGe6RuI4oMxWkBtSpEy0nDzCvHlFgJiA2"


def encodings(value: str) -> list[str]:
    data = value.encode()
    return [
        value,
        data.hex(),
        data.hex().upper(),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps({"key": value}),
        json.dumps({"key": value}, ensure_ascii=False),
        json.dumps(json.dumps(value)),
        repr(value),
        html.escape(value),
        shlex.quote(value),
        f"export TOKEN={shlex.quote(value)}",
        value.replace("'", "'\\''"),
    ]


@pytest.mark.parametrize("number", range(len(encodings(SECRET))))
def test_masks_the_usual_encodings(number: int) -> None:
    text = encodings(SECRET)[number]
    masked = Masker([SECRET]).mask(f"before {text} after")
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "0123456789" not in masked
    assert b"0123456789".hex() not in masked.lower()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user::"])
@pytest.mark.parametrize("after", ["", "\n", "xy"])
def test_masks_base64_wherever_the_secret_stands_in_it(encode: object, before: str, after: str) -> None:
    text = encode(f"{before}{SECRET}{after}".encode()).decode()  # type: ignore[operator]
    masked = Masker([SECRET]).mask(text)
    assert "***" in masked
    # What is left around it are the neighbours, and at most one character that is shared at each end.
    assert len(masked.replace("***", "")) <= len(base64.b64encode((before + after).encode())) + 4


def test_masks_base64_as_the_command_line_tool_breaks_it() -> None:
    secret = "".join(f"{number:03d}-" for number in range(60))
    output = subprocess.run(["base64"], input=secret, capture_output=True, text=True, check=True).stdout
    assert output.count("\n") > 3
    masked = Masker([secret]).mask(output)
    assert all(len(line.replace("***", "")) < 4 for line in masked.splitlines())


def test_masks_every_line_of_a_secret_with_several() -> None:
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\n{\nq1w2e3r4t5\n-----END KEY-----\n"
    masker = Masker([key])
    assert masker.mask(f"[{key.strip()}]") == "[***\n***\n***\n***\n***]", "the lines stay lines"
    assert masker.mask("line: MIIEpAIBAAKCAQEA7!") == "line: ***!"
    assert "cTF3MmUz" not in masker.mask(base64.b64encode(b"q1w2e3r4t5").decode())
    assert masker.mask("{ stays }") == "{ stays }"


def test_the_longer_of_two_secrets_is_replaced_first() -> None:
    assert Masker(["abcd", "abcdefgh"]).mask("abcdefgh abcd") == "*** ***"


def test_without_secrets_nothing_changes() -> None:
    assert Masker([]).mask("text") == "text"
    assert Masker(["", "  "]).mask("a  b") == "a  b"


@given(
    pieces=st.lists(st.sampled_from(["s3cr", "et-value", "s3cret-value", "x", "\n", "s", "dmFs", "dWU", "-val"])),
    cuts=st.integers(min_value=1, max_value=9),
)
def test_a_stream_masks_the_same_however_the_text_is_cut(pieces: list[str], cuts: int) -> None:
    masker, text = Masker(["s3cret-value"]), "".join(pieces)
    stream = masker.stream()
    fed = [stream.feed(text[start : start + cuts]) for start in range(0, len(text), cuts)]
    assert "".join(fed) + stream.end() == masker.mask(text)


def test_a_stream_holds_back_only_what_may_be_a_secret() -> None:
    stream = Masker(["s3cret-value"]).stream()
    assert stream.feed("ready\n") == "ready\n"
    assert stream.feed("it is s3cr") == "it is "
    assert stream.feed("et-value.") == "***."
    assert stream.feed("s3cr") == ""
    assert stream.end() == "s3cr"


@pytest.mark.parametrize("before", ["", "K=", "SECRET_KEY=", "export SHOP_KEY=", "a longer line that goes before: "])
@pytest.mark.parametrize("width", [40, 64, 76])
def test_masks_what_tools_break_into_lines_wherever_they_end(before: str, width: int) -> None:
    secret = "Zr7-wq0PbX2m_T9sLd5KfYh3Vj8NcQ1aGe6RuI4oMxWkBtSpEy0nDzCvHlFgJiA2"
    whole = base64.b64encode(f"{before}{secret}\nand more after it\n".encode()).decode()
    lines = "\n".join(whole[start : start + width] for start in range(0, len(whole), width))
    masked = Masker([secret]).mask(lines)
    assert "***" in masked
    kept = "".join(masked.split("***")).replace("\n", "")
    assert len(kept) < len(whole) - len(secret) * 4 // 3 + 4
    dump = f"{before}{secret}".encode().hex(" ", 1)
    spaced = "\n".join(dump[start : start + 48] for start in range(0, len(dump), 48))
    assert "***" in Masker([secret]).mask(spaced)


Encode = Callable[[bytes], str]


def by(*command: str) -> Encode:
    """What a tool of the command line makes of it."""

    def encode(data: bytes) -> str:
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()

    return encode


def wrapped(encode: Callable[[bytes], bytes]) -> Encode:
    return lambda data: "\n".join(encode(data).decode()[at : at + 40] for at in range(0, len(encode(data)), 40))


def dump(data: bytes, line: str) -> str:
    """As the tools print it that are not installed everywhere."""
    rows = {at: data[at : at + 16] for at in range(0, len(data), 16)}
    shown = {at: "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row) for at, row in rows.items()}
    return "\n".join(line.format(at, row.hex(" "), row.hex(" ", -2), shown[at]) for at, row in rows.items())


ENCODINGS: dict[str, Encode] = {
    "base64": by("base64"),
    "base64 in one line": by("base64", "-w0"),
    "base64 of base64": lambda data: by("base64")(by("base64")(data).encode()),
    "base64 of base64 in one line": lambda data: by("base64", "-w0")(by("base64", "-w0")(data).encode()),
    "base64 of url-safe base64": lambda data: base64.b64encode(base64.urlsafe_b64encode(b"?" + data)).decode(),
    "base64, indented": lambda data: by("base64")(data).replace("\n", "\n    "),
    "base64 in JSON": lambda data: json.dumps({"out": by("base64")(data)}),
    "base32": by("base32"),
    "base32 in small letters": lambda data: by("base32")(data).lower(),
    "base32hex": lambda data: base64.b32hexencode(data).decode(),
    "\\xNN": lambda data: "".join(f"\\x{byte:02x}" for byte in data),
    "\\xNN in capitals": lambda data: "".join(f"\\x{byte:02X}" for byte in data),
    "\\xNN, in JSON": lambda data: json.dumps("".join(f"\\x{byte:02x}" for byte in data)),
    "\\uNNNN": lambda data: "".join(f"\\u{byte:04x}" for byte in data),
    "\\NNN": lambda data: "".join(f"\\{byte:03o}" for byte in data),
    "%NN": lambda data: "".join(f"%{byte:02X}" for byte in data),
    "0xNN, ...": lambda data: ", ".join(f"0x{byte:02x}" for byte in data),
    "aa:bb:cc": lambda data: data.hex(":"),
    "a list of numbers": lambda data: str(list(data)),
    "bytes of Python": lambda data: repr(data),
    "&#N;": lambda data: "".join(f"&#{ord(each)};" for each in data.decode()),
    "&#xN;": lambda data: "".join(f"&#x{byte:x};" for byte in data),
    "hexdump": by("od", "-Ax", "-x"),
    "hexdump -C": lambda data: dump(data, "{0:08x}  {1:<48}  |{3}|"),
    "od -tx1": by("od", "-tx1"),
    "od -x": by("od", "-x"),
    "od -c": by("od", "-c"),
    "od": by("od"),
    "od -b": by("od", "-b"),
    "od -d": by("od", "-d"),
    "od -tx4": by("od", "-tx4"),
    "in colours": lambda data: data.decode().replace(PLAIN, f"{PLAIN[:9]}\x1b[01;31m\x1b[K{PLAIN[9:]}\x1b[m\x1b[K"),
    "xxd": lambda data: dump(data, "{0:08x}: {2:<40} {3}"),
    "hex in columns": wrapped(lambda data: data.hex(" ").encode()),
}  # fmt: skip


def traces(text: str) -> list[str]:
    """What of PLAIN can still be read out of `text`: any six of its characters, in any of the encodings."""
    bare = "".join(text.split())
    pieces = [PLAIN[at : at + 6] for at in range(len(PLAIN) - 5)]
    found = [piece for piece in pieces if piece in bare or piece.encode().hex() in bare.lower()]
    for line in bare.split("***"):
        for at in range(8):
            for decode in (base64.b64decode, base64.b32decode):
                part = line[at:]
                try:
                    read = decode(
                        part[: len(part) // 8 * 8].upper() if decode is base64.b32decode else part[: len(part) // 4 * 4]
                    )
                except ValueError:
                    continue
                found += [piece for piece in pieces if piece.encode() in read]
    return found


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("before", ["", "SECRET_KEY=", "what the line began with: "])
def test_nothing_of_it_is_left_however_it_was_encoded(name: str, before: str) -> None:
    text = ENCODINGS[name](f"{before}{PLAIN}\nand more".encode())
    masked = Masker([PLAIN]).mask(f"It is\n{text}\nand goes on")
    assert traces(masked) == [], masked
    assert "***" in masked
    assert masked.startswith("It is\n")
    assert masked.endswith("\nand goes on")


# Of what JSON, shells and expressions write otherwise; its end tells whether it was seen.
MARKED = "p&ss<word>='9\"x\\Q-long~0123456789"


def go_json(value: object, form: str = "02x") -> str:
    """As Go's encoding/json writes it; PHP's JSON_HEX_TAG and Django's json_script use capitals."""
    return json.dumps(value).translate({ord(one): f"\\u00{ord(one):{form}}" for one in "&<>"})


WRITTEN: dict[str, Callable[[str], str]] = {
    "json of go": go_json,
    "json for html": lambda value: go_json(value, "02X"),
    "escapejs": escapejs,
    "base64 of json": lambda value: base64.b64encode(json.dumps({"password": value}).encode()).decode(),
    "base64 of go's": lambda value: base64.b64encode(go_json({"password": value}).encode()).decode(),
    "%q": lambda value: by("bash", "-c", 'printf %q "$(cat)"')(value.encode()),
    "an expression": re.escape,
    "twice in an address": lambda value: quote(quote(value, safe=""), safe=""),
    "quoted-printable": lambda value: quopri.encodestring(value.encode()).decode(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_masks_what_is_written_otherwise_for_markup_and_shells(name: str) -> None:
    masked = Masker([MARKED]).mask(f"before {WRITTEN[name](MARKED)} after")
    assert masked.startswith("before ")
    assert "***" in masked
    assert "0123456789" not in masked
    assert base64.b64encode(b"0123456789")[2:12].decode() not in masked
    assert len(masked) < 60


def test_colours_hide_no_secret_however_the_text_is_cut() -> None:
    text = "It is \x1b[1mp&ss<\x1b[01;31m\x1b[Kword\x1b[m\x1b[K>=\x1b]0;title\x07'9\"x\\Q-long~0123456789\x1b[m!"
    masker = Masker([MARKED])
    assert masker.mask(text) == "It is \x1b[1m***\x1b[m!"
    for size in (1, 3, 7, 20):
        stream = masker.stream()
        told = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.end()
        assert "word" not in told
        assert "0123456789" not in told


@pytest.mark.parametrize("size", [5, 40, 78])
@pytest.mark.parametrize("name", ["base64", "base64 of base64", "base32", "\\xNN", "hexdump -C", "od -tx1", "xxd"])
def test_a_piece_gives_nothing_away_wherever_it_is_cut(name: str, size: int) -> None:
    text = f"It is\n{ENCODINGS[name](b'KEY=' + PLAIN.encode())}\nand goes on"
    stream = Masker([PLAIN]).stream()
    told = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.end()
    assert traces(told) == [], told
    assert told.startswith("It is\n")
    assert told.endswith("\nand goes on")


@pytest.mark.parametrize("name", ["base64", "base32", "od -tx1", "base64 of base64"])
def test_lines_that_come_one_by_one_are_masked_as_if_they_came_together(tmp_path: Path, name: str) -> None:
    """As a worker reads them, which tells what is there whenever it looks; another worker goes on from there."""
    lines = f"It is\n{ENCODINGS[name](b'KEY=' + PLAIN.encode())}\nand goes on\n".splitlines(keepends=True)
    told = ""
    for line in lines:
        with (tmp_path / "output").open("a") as file:
            file.write(line)
        told += "".join(log.text for log in Output(tmp_path, Masker([PLAIN])).read())
    told += "".join(log.text for log in Output(tmp_path, Masker([PLAIN])).read(final=True))
    assert traces(told) == [], told
    assert told.startswith("It is\n")
    assert told.endswith("\nand goes on\n")
    assert told.count("\n") == len(lines)


def test_ordinary_lines_wait_for_nothing(tmp_path: Path) -> None:
    output = Output(tmp_path, Masker([PLAIN, SECRET]))
    for line in ("collected 12 items\n", "........ [100%]\n", "4 passed in 2.0 s\n", "https://shop.example/a/b\n"):
        with (tmp_path / "output").open("a") as file:
            file.write(line)
        assert "".join(log.text for log in output.read()) == line


def test_a_long_line_is_cut_where_no_secret_is(tmp_path: Path) -> None:
    text = "x" * (READ_SIZE - 20) + base64.b64encode(PLAIN.encode()).decode() + "ä" * READ_SIZE
    (tmp_path / "output").write_text(text)
    told = [log.text for log in Output(tmp_path, Masker([PLAIN])).read(final=True)]
    assert len(told) > 2
    assert traces("".join(told)) == []
    assert "".join(told).count("ä") == READ_SIZE


def test_lines_that_ansible_gives_one_by_one_are_looked_at_together() -> None:
    lines = by("base64")(b"KEY=" + PLAIN.encode()).splitlines()
    event = {"stdout_lines": lines, "items": ["one", "two"], "none": []}
    masked = masked_value(event, Masker([PLAIN]))
    assert traces("\n".join(masked["stdout_lines"])) == []
    assert len(masked["stdout_lines"]) == len(lines)
    assert masked["items"] == ["one", "two"]
    assert masked["none"] == []


def test_much_output_is_masked_in_good_time() -> None:
    """Backslashes, spaces and digits without end are what the patterns could get lost in."""
    masker = Masker([PLAIN, SECRET])
    for text in ("\\" * READ_SIZE, " " * READ_SIZE, "00 " * (READ_SIZE // 3), "\n00000000 " * 5000, "ab " * 20_000):
        assert masker.mask(text) == text


@pytest.mark.parametrize("atom", ["ab", "abcd ", "0", " ", "|", "\\", "00000010: ", "  x", "\x1b[", "\x1b]", "\x1b[0m"])
@pytest.mark.parametrize("end", ["!", "\n", "g"])
def test_no_text_makes_it_think_for_ever(atom, end):
    """An expression that matches one text in two ways would try them all: for a line of digits longer than a life."""
    masker = Masker([SECRET])
    text = "\n" + atom * (10_000 // len(atom)) + end
    assert masker.mask(text) == text
    assert 0 <= masker.cut(text) <= len(text)
