"""A portal in real processes, and `burger` as its users start it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.cli import app
from tests.api.site import Site, eventually, serve

BURGER = Path(sys.executable).with_name("burger")
Burger = Callable[..., "Done"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("site")) as site:
        # As `make demo` leaves it, for `--as`.
        people = {"dev": ["ann"], "ops": ["olga"], "platform": ["pete"]}
        (site.home / "var" / "demo.json").write_text(
            json.dumps({"url": site.url, "tokens": site.tokens, "teams": people})
        )
        yield site


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def burger(site: Site, monkeypatch: pytest.MonkeyPatch) -> Burger:
    """`burger("runs", user="olga")` runs the command as that person, in this process, which is much quicker, and tells
    what became of it. Its input is no terminal."""

    def run(*arguments: str, user: str = "ann", say: str = "", **environment: str) -> Done:
        known = {"BURGER_URL": site.url, "BURGER_TOKEN": site.tokens.get(user, "none"), "COLUMNS": "200"}
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            for name, value in (known | environment).items():
                patch.setenv(name, value)
            patch.setenv("BURGER_HOME", environment.get("BURGER_HOME", str(site.home / "var")))
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(say.encode())))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = app.run(arguments)
        return Done(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def waiting(site: Site, burger: Burger) -> str:
    """The name of a fresh run that waits at its gate, asked for by pia."""
    done = burger("run", "demo", user="pia")
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[1]
    eventually(lambda: site.get(f"runs/{name}")["state"] == "waiting")
    return name
