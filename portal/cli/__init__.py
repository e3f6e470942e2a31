"""The `burger` command line: what the pages show and do, over the REST API. docs/api.md lists its commands."""

from __future__ import annotations

import sys


def main() -> None:
    from .app import run

    sys.exit(run(sys.argv[1:]))
