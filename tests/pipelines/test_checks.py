"""What is said before the first stage runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import checks


@pytest.mark.parametrize("name", ["plain", "with space", "ünï-1.0_x", "a+b,c=d@e"])
def test_a_state_folder_with_a_plain_path(settings, tmp_path, name):
    settings.HOME = tmp_path / name
    assert checks.home_is_plain() == []


@pytest.mark.parametrize("name", ["a&b", "it's", "a;b", "(x)", "two  spaces", "$HOME", "a\\b", 'a"b', "a*", "a\nb"])
def test_a_state_folder_that_a_shell_would_read(settings, tmp_path, name):
    settings.HOME = Path(tmp_path / name)
    (error,) = checks.home_is_plain()
    assert "in its path, and Ansible's shells" in error.msg
    assert "BURGER_HOME" in error.hint


def test_what_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (error,) = checks.git_is_there()
    assert "apt-get install git" in error.hint
