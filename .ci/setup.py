"""Makes .venv and installs the locked dependencies into it: with uv where it can be had, else with pip.

setup.py [LOCK STAMP]: the lock file, and the file in .venv that says that it is installed. Runs on the standard
library alone, before anything is installed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "requirements.lock")
STAMP = VENV / (sys.argv[2] if len(sys.argv) > 2 else ".ready")


def missing() -> list[str]:
    """What this machine lacks, each with the package that brings it."""
    found = []
    if sys.version_info < (3, 11):  # noqa: UP036 this very script may be started by an older one
        found.append(f"Python 3.11 or later (this is {sys.version.split()[0]}): apt-get install python3")
    if not shutil.which("git"):
        found.append("git: apt-get install git")
    no_venv = importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None
    if no_venv and not shutil.which("uv"):
        found.append("Python's venv module: apt-get install python3-venv")
    return found


def run(*command: str | Path) -> bool:
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode == 0


def make_venv(uv: str | None) -> None:
    if PYTHON.exists():
        return
    made = (
        run(uv, "venv", "--quiet", "--python", sys.executable, VENV) if uv else run(sys.executable, "-m", "venv", VENV)
    )
    if not made:
        raise SystemExit("The virtual environment could not be made; the reason stands above.")


def install(uv: str | None) -> None:
    print("Installing the locked dependencies ...", flush=True)
    if uv is None:
        version = re.search(r"^uv==(\S+)", LOCK.read_text(), re.MULTILINE)
        wanted = f"uv=={version[1]}" if version else "uv"
        if run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted):
            uv = str(VENV / "bin" / "uv")
    if uv:
        done = run(uv, "pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "-r", LOCK) and run(
            uv, "pip", "install", "--quiet", "--python", PYTHON, "--no-deps", "-e", ROOT
        )
    else:
        pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        done = run(*pip, "--require-hashes", "-r", LOCK) and run(*pip, "--no-deps", "-e", ROOT)
    if not done:
        raise SystemExit(
            "The dependencies could not be installed; the reason stands above. A package index has to be in reach "
            "(PIP_INDEX_URL, UV_DEFAULT_INDEX and the usual proxy variables are honoured)."
        )


def main() -> None:
    if lacking := missing():
        raise SystemExit("This machine lacks:\n  " + "\n  ".join(lacking))
    uv = shutil.which("uv")
    make_venv(uv)
    install(uv)
    STAMP.touch()


main()
