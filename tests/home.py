"""A state folder for the tests, chosen before Django reads its settings: no test may touch an installation's own."""

from __future__ import annotations

import os
import tempfile

if os.environ.get("BURGER_TESTS") != "1":  # else a process that a test started, with a home given to it
    _folder = tempfile.TemporaryDirectory(prefix="burger-tests-")
    os.environ["BURGER_TESTS"] = "1"
    os.environ["BURGER_HOME"] = _folder.name
    os.environ.setdefault("BURGER_PORT_BASE", "8900")
