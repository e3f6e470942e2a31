"""Secrets: only one's own, and never in what leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.executors.secrets import SecretError, resolve

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
