"""Makes one of the shop's components, in the folder it is called in: python docker/component.py NAME

Every component brings the libraries that it needs itself, in `vendor/`, so that what was tested is what runs.
`frontend` and `backend` also hold the static files: the one serves them, the other has to know their hashed names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = "docker/backend/requirements.lock"
COMPONENTS = ("frontend", "backend", "database")


def install() -> None:
    """The locked libraries, into vendor/: with uv where there is one, else with pip."""
    wanted = ("--quiet", "--target", "vendor", "--require-hashes", "-r", LOCK)
    if shutil.which("uv"):
        command = ["uv", "pip", "install", "--python", sys.executable, *wanted]
    else:
        command = [sys.executable, "-m", "pip", "install", "--no-compile", "--disable-pip-version-check", *wanted]
    subprocess.run(command, check=True)
    shutil.rmtree("vendor/bin", ignore_errors=True)  # scripts that name this folder in their first line


def collect() -> None:
    command = [sys.executable, "-S", "-m", "ordering.site.build_frontend", "."]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": f"vendor{os.pathsep}."})


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in COMPONENTS:
        raise SystemExit(f"usage: python docker/component.py {'|'.join(COMPONENTS)}")
    if not Path(LOCK).is_file():
        raise SystemExit(f"{LOCK} is not here; start this in the root of the repository.")
    install()
    if sys.argv[1] != "database":
        collect()


main()
