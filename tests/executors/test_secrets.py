"""Secrets: only one's own, and never in what leaves."""

from __future__ import annotations

import base64
import html
import json
import os
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.executors.secrets import Masker, SecretError, resolve

SECRET = "pa/ss+wörd 'q\"uote\\ <&> 0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write(tmp_path, "dev", "token", "dev-value\n")
    write(tmp_path, "ops", "token", "ops-value\n")
    return tmp_path


def write(home: Path, team: str, name: str, value: str, mode: int = 0o600) -> Path:
    path = home / "secrets" / team / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    path.chmod(mode)
    return path


def test_each_team_gets_its_own(home: Path) -> None:
    assert resolve(home, "dev", "token") == "dev-value"
    assert resolve(home, "ops", "token") == "ops-value"


def test_only_the_last_line_end_is_cut(home: Path) -> None:
    write(home, "dev", "key", "one\ntwo\n\n")
    assert resolve(home, "dev", "key") == "one\ntwo\n"


@pytest.mark.parametrize("reference", ["../ops/token", "/etc/passwd", "..", ".", "", "a/b", "x:token", "token\0", "-"])
def test_a_reference_that_could_lead_elsewhere_is_refused(home: Path, reference: str) -> None:
    with pytest.raises(SecretError, match="is no reference to a secret"):
        resolve(home, "dev", reference)


def test_a_team_that_could_lead_elsewhere_is_refused(home: Path) -> None:
    with pytest.raises(SecretError, match="is no reference"):
        resolve(home, "../secrets/ops", "token")


def test_a_missing_secret_says_what_to_do(home: Path) -> None:
    with pytest.raises(SecretError, match=r"'nothing' of team 'dev' is not there: write it to .*/secrets/dev/nothing"):
        resolve(home, "dev", "nothing")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    write(home, "dev", "open", "planted-value", mode)
    with pytest.raises(SecretError, match=f"mode {mode:04o}. Run chmod 600") as caught:
        resolve(home, "dev", "open")
    assert "planted-value" not in str(caught.value)


def test_a_link_to_another_teams_secret_is_refused(home: Path) -> None:
    (home / "secrets" / "dev" / "link").symlink_to("../ops/token")
    with pytest.raises(SecretError, match="cannot be read"):
        resolve(home, "dev", "link")


def test_a_pipe_does_not_block(home: Path) -> None:
    os.mkfifo(home / "secrets" / "dev" / "pipe", 0o600)
    with pytest.raises(SecretError, match="plain file"):
        resolve(home, "dev", "pipe")


@pytest.mark.parametrize("content", [b"", b"\n", b"a\0b"])
def test_an_empty_secret_is_refused(home: Path, content: bytes) -> None:
    write(home, "dev", "odd", "").write_bytes(content)
    with pytest.raises(SecretError, match="is empty or holds a NUL"):
        resolve(home, "dev", "odd")


def test_a_secret_of_any_bytes_is_refused_without_showing_it(home: Path) -> None:
    write(home, "dev", "odd", "").write_bytes(b"planted\xff")
    with pytest.raises(SecretError, match="no UTF-8 text") as caught:
        resolve(home, "dev", "odd")
    assert "planted" not in str(caught.value)


def test_a_variable_belongs_to_one_team(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURGER_SECRET_SHOP_DEV__API_KEY", "value")
    assert resolve(home, "shop-dev", "env:api-key") == "value"
    with pytest.raises(SecretError, match="set BURGER_SECRET_SHOP__DEV_API_KEY"):
        resolve(home, "shop", "env:dev-api-key")
    for team, name in (("shop", "env:dev__api_key"), ("shop_dev", "env:api_key")):
        with pytest.raises(SecretError, match="could mean another team's"):
            resolve(home, team, name)
    with pytest.raises(SecretError, match="is no reference"):
        resolve(home, "shop-dev", "env:PATH:x")


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
    assert masker.mask(f"[{key.strip()}]") == "[***]"
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
