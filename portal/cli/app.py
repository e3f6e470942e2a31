"""The commands, put together. Everything slow to import is imported by the command that needs it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from portal.visible import visible

from . import compile_commands, import_commands, other_commands, run_commands, stage_commands
from .config import Config
from .errors import CommandError

app = typer.Typer(
    name="burger",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Start, watch, approve and steer deliveries. "
    "Exit status: 0 done, 1 it failed, 2 wrong usage, 3 rejected or canceled, 4 refused, 5 portal unreachable.",
)
for module in (run_commands, stage_commands, other_commands, import_commands, compile_commands):
    module.register(app)

GLOBAL = ("--url", "--token", "--as")


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str, typer.Option(help="The portal's address; else BURGER_URL, else var/demo.json.")] = "",
    token: Annotated[str, typer.Option(help="Your token; better in BURGER_TOKEN, which no process list shows.")] = "",
    person: Annotated[str, typer.Option("--as", help="Whose token of var/demo.json to use; else BURGER_AS.")] = "",
) -> None:
    context.obj = Config(url, token, person)


def run(arguments: Sequence[str]) -> int:
    """The exit status."""
    _sound_streams()
    try:
        try:
            app(args=hoisted(arguments), prog_name="burger")
        finally:
            sys.stdout.flush()
    except CommandError as error:
        print(visible(f"burger: {error}"), file=sys.stderr)
        return error.status
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has enough; say nothing more
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"burger: what was to be shown could not be written: {error.strerror}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail once more at the end
        return 1
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _sound_streams() -> None:
    """A terminal that knows few letters shows `?` for the others; who closed a stream gets one that leads nowhere."""
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The options that concern every command may stand behind one as well."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in GLOBAL:
            first += [argument, *[value for value in [next(left, None)] if value is not None]]
        elif argument.startswith(tuple(f"{name}=" for name in GLOBAL)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest
