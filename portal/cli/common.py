"""What several commands share: names of things as they are typed, and printing."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .config import Config
from .errors import FAILED, STOPPED, CommandError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPED = 240  # columns

AsJson = Annotated[bool, typer.Option("--json", help="Print the portal's answer as JSON.")]
RunName = Annotated[str, typer.Argument(metavar="PIPELINE/NUMBER")]
StageName = Annotated[str, typer.Argument(metavar="PIPELINE/NUMBER/STAGE")]
OptionalReason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the record.")]
NeededReason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the record.", show_default=False)]


def config(context: typer.Context) -> Config:
    found: Config = context.obj
    return found


def run_path(name: str) -> str:
    """Raises CommandError unless the name is PIPELINE/NUMBER."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*/[0-9]+", name):
        raise CommandError(f"{name!r} names no run; expected PIPELINE/NUMBER, such as shop/12.")
    return f"runs/{name}"


def stage_of(name: str) -> str:
    """The API's path of a stage. Raises CommandError unless the name is PIPELINE/NUMBER/STAGE."""
    from .client import stage_path

    pipeline, _, rest = name.partition("/")
    number, _, stage = rest.partition("/")
    if not stage:
        raise CommandError(f"{name!r} names no stage; expected PIPELINE/NUMBER/STAGE, such as shop/12/build.")
    run_path(f"{pipeline}/{number}")
    return stage_path(f"{pipeline}/{number}", stage)


def named(given: list[str], what: str) -> dict[str, str]:
    """NAME=VALUE, several times. Raises CommandError."""
    found = {}
    for item in given:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise CommandError(f"{item!r} is no {what}; expected NAME=VALUE.")
        found[name] = value
    return found


def read_file(name: str) -> bytes:
    """A file's bytes, or those of standard input for "-", one more than any file may have at most: whoever reads them
    refuses what is too large. Raises CommandError."""
    from pipelines.definition.loader import MAX_BYTES

    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        # Asked before it is opened: a pipe that nobody writes to would be waited for.
        if not Path(name).is_file() and Path(name).exists():
            raise CommandError(f"{name} is no regular file. Name one, or - for standard input.")
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from error


def console() -> Console:
    from rich.console import Console

    # What reads a pipe wants each row in one line.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def show(answer: Any, view: RenderableType, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        console().print(view)


def print_json(answer: Any) -> None:
    from portal.visible import in_json

    print(in_json(json.dumps(answer, indent=2, ensure_ascii=False)))


def status_of(state: str) -> int:
    """The exit status that tells how a run ended."""
    return {"succeeded": 0, "rejected": STOPPED, "canceled": STOPPED}.get(state, FAILED)
