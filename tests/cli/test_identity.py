"""As whom the command line speaks."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def place(site, tmp_path):
    """A folder with a file like the demo's, which tests may change."""
    shutil.copy(site.home / "var" / "demo.json", tmp_path / "demo.json")
    return tmp_path


@pytest.fixture
def burger_there(burger, place):
    def run(*arguments: str, **environment: str):
        return burger(*arguments, BURGER_TOKEN="", BURGER_HOME=str(place), **environment)

    return run


def test_whoever_does_not_say_who_they_are_may_look_as_the_first_and_do_nothing(site, burger_there, waiting):
    first = next(iter(json.loads((site.home / "var" / "demo.json").read_text())["tokens"]))
    looked = burger_there("whoami")
    assert (looked.returncode, looked.stdout.split(":")[0]) == (0, first)
    assert f"speaking as {first}, the first of" in looked.stderr
    assert "choose with --as" in looked.stderr
    for deed in (("approve", f"{waiting}/ship", "--yes"), ("run", "demo"), ("token", "create")):
        refused = burger_there(*deed)
        assert refused.returncode == 2, deed
        assert "Who does this?" in refused.stderr
        assert "olga" in refused.stderr
        assert "BURGER_AS" in refused.stderr
    assert site.get(f"runs/{waiting}/stages/ship")["state"] == "waiting"


def test_as_comes_before_the_environment_and_a_token_before_a_name(site, burger, burger_there):
    assert burger_there("me", BURGER_AS="olga").stdout.startswith("olga")
    assert burger_there("--as", "pete", "me", BURGER_AS="olga").stdout.startswith("pete")
    assert burger("me", user="ann", BURGER_AS="olga").stdout.startswith("ann")
    assert burger_there("me", BURGER_AS="nobody").returncode == 2
    quiet = burger_there("me", BURGER_AS="olga")
    assert quiet.stderr == ""


def test_somebody_who_is_alone_need_not_say_so(site, burger_there, place):
    known = json.loads((place / "demo.json").read_text())
    known["tokens"] = {"olga": known["tokens"]["olga"]}
    (place / "demo.json").write_text(json.dumps(known))
    made = burger_there("token", "create", "--days", "1")
    assert (made.returncode, made.stderr) == (0, "")


def test_a_token_is_renewed_where_it_is_kept_and_the_old_one_is_over(site, burger, burger_there, place):
    known = json.loads((place / "demo.json").read_text())
    old = burger("token", "create", "--days", "2", user="olga").stdout.strip()
    known["tokens"]["olga"] = old
    (place / "demo.json").write_text(json.dumps(known))
    done = burger_there("--as", "olga", "token", "renew", "--days", "20")
    assert done.returncode == 0, done.stderr
    assert str(place / "demo.json") in done.stdout
    assert (place / "demo.json").stat().st_mode & 0o777 == 0o600
    new = json.loads((place / "demo.json").read_text())["tokens"]["olga"]
    assert new not in done.stdout
    assert burger_there("--as", "olga", "me").stdout.startswith("olga")
    assert burger("me", BURGER_TOKEN=old).returncode == 4


def test_a_token_of_elsewhere_is_renewed_and_printed(burger):
    old = burger("token", "create", "--days", "2", user="olga").stdout.strip()
    new = burger("token", "renew", BURGER_TOKEN=old).stdout.strip()
    assert burger("me", BURGER_TOKEN=new).stdout.startswith("olga")
    assert burger("me", BURGER_TOKEN=old).returncode == 4
