"""The playbooks are clean under ansible-lint's strictest profile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_the_playbooks_are_clean(tmp_path):
    programs = Path(sys.executable).parent
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "ANSIBLE_HOME": str(tmp_path), "NO_COLOR": "1"}
    found = subprocess.run(
        [str(programs / "ansible-lint"), "--strict", "--profile", "production", "--nocolor"],
        cwd=PROJECT / "playbooks",
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in found.stderr
