"""A portal in real processes, and `burger` as its users start it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.site import Site, eventually, serve

BURGER = Path(sys.executable).with_name("burger")
Burger = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("site")) as site:
        # As `make demo` leaves it, for `--as`.
        people = {"dev": ["ann"], "ops": ["olga"], "platform": ["pete"]}
        (site.home / "var" / "demo.json").write_text(
            json.dumps({"url": site.url, "tokens": site.tokens, "teams": people})
        )
        yield site


@pytest.fixture
def burger(site: Site) -> Burger:
    """`burger("runs", user="olga")` runs the command as that person and returns what became of it."""

    def run(*arguments: str, user: str = "ann", say: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"BURGER_URL": site.url, "BURGER_TOKEN": site.tokens.get(user, ""), "COLUMNS": "200"}
        return subprocess.run(
            [BURGER, *arguments], env=site.environment | known | environment, cwd=site.home, input=say,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def waiting(site: Site, burger: Burger) -> str:
    """The name of a fresh run that waits at its gate, asked for by pia."""
    done = burger("run", "demo", user="pia")
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[1]
    eventually(lambda: site.get(f"runs/{name}")["state"] == "waiting")
    return name
