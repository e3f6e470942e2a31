"""The engine's own tests once more, on the database that larger installations use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import postgres

ROOT = Path(__file__).resolve().parents[1]


def test_the_engine_holds_on_postgresql(tmp_path):
    """A server of its own, from Debian's package; another process, since Django's database is chosen at its start."""
    if postgres.program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.server() as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pipelines", "tests/teams"],
            cwd=ROOT,
            env=os.environ | {"BURGER_DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:]
