"""A setting that cannot be right stops the start, and the message says which, what was found and what was expected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BURGER_PORT_BASE", "abc", "is 'abc'; expected a whole number"),
        ("BURGER_WORKERS", "0", "is '0'; expected a whole number of at least 1"),
        ("BURGER_WORKERS", "2.5", "is '2.5'; expected a whole number"),
        ("BURGER_LEASE", "nan", "is 'nan'; expected a number of at least 1"),
        ("BURGER_KEEP_RUNS", "-1", "is '-1'; expected a number of at least 0"),
        ("BURGER_REDIS_URL", "localhost", "has to begin with redis://"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str, expected: str) -> None:
    env = os.environ | {"BURGER_HOME": str(tmp_path), name: value}
    command = [sys.executable, "-c", "import portal.settings"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"ImproperlyConfigured: {name} {expected}" in done.stderr
