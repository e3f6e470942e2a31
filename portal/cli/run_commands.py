"""Commands about runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from portal.visible import visible

from .common import AsJson, NeededReason, OptionalReason, RunName, config, console, named, run_path, show, status_of
from .errors import FAILED, CommandError

START_TIME = 30.0  # seconds that a worker may take to fetch a commit


def register(app: typer.Typer) -> None:
    commands: dict[str, Callable[..., None]] = {
        "runs": runs, "run": run, "show": show_run, "follow": follow_run, "cancel": cancel, "terminate": terminate,
        "rerun": rerun, "retry-failed": retry_failed, "adopt": adopt,
    }  # fmt: skip
    for name, command in commands.items():
        app.command(name)(command)


def runs(
    context: typer.Context,
    pipeline: Annotated[str, typer.Option(help="Only of this one.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from .show import run_rows

    query = {"pipeline": pipeline, "state": state}
    answer = config(context).client().get("runs", size=limit, **{k: v for k, v in query.items() if v})
    show(answer["results"], run_rows(answer["results"]), as_json=as_json)


def run(
    context: typer.Context,
    pipeline: str,
    ref: Annotated[str, typer.Option(help="A branch, or a full name such as refs/tags/v1.")] = "main",
    commit: Annotated[str, typer.Option(help="40 hex digits; the ref's newest one if not given.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it to its end.")] = False,
) -> None:
    """Start a run."""
    client = config(context).client()
    body = {"ref": ref, "commit": commit, "parameters": named(parameter or [], "parameter")}
    _started(context, client, client.post(f"pipelines/{pipeline}/runs", body), follow=follow)


def _started(context: typer.Context, client: Any, delivery: dict[str, Any], *, follow: bool) -> None:
    """Wait for the run that a delivery becomes."""
    deadline = time.monotonic() + START_TIME
    while delivery["open"]:
        if time.monotonic() > deadline:
            why = f" {delivery['note']}" if delivery["note"] else ""
            raise CommandError(f"No worker has started it within {START_TIME:g} s; it starts as soon as one can.{why}")
        time.sleep(0.1)
        delivery = client.get(f"deliveries/{delivery['id']}")
    if delivery["run"] is None:
        print(visible(f"No run was started: {delivery['note']}"))
        raise typer.Exit(FAILED)
    print(f"Run {delivery['run']['run']}  {delivery['run']['url']}")
    if follow:
        _follow(context, delivery["run"]["run"])
    # One that is refused, for a parameter say, has ended before it had any stage.
    begun = client.get(run_path(delivery["run"]["run"]))
    if begun["state"] == "error" and not begun["stages"]:
        print(visible(f"It was refused: {begun['reason']}"))
        raise typer.Exit(FAILED)


def show_run(context: typer.Context, run: RunName, as_json: AsJson = False) -> None:
    """Show a run and its stages."""
    from .show import run_view

    answer = config(context).client().run(run_path(run))
    show(answer, run_view(answer), as_json=as_json)


def follow_run(context: typer.Context, run: RunName) -> None:
    """Watch a run to its end; the exit status tells how it ended."""
    run_path(run)
    _follow(context, run)


def _follow(context: typer.Context, run: str) -> None:
    from .follow import follow

    pipeline, _, number = run.partition("/")
    known = config(context)
    state = follow(known.client(), pipeline, int(number), console=console(), speakers=known.speakers)
    raise typer.Exit(status_of(state))


def _act(context: typer.Context, run: str, action: str, body: dict[str, str]) -> None:
    answer = config(context).client().post(f"{run_path(run)}/{action}", body)
    print(visible(f"Run {answer['run']} is {answer['state']}. {answer['now']}"))


def cancel(context: typer.Context, run: RunName, reason: OptionalReason = "") -> None:
    """Stop a run; its exit stages still run."""
    _act(context, run, "cancel", {"reason": reason})


def terminate(context: typer.Context, run: RunName, reason: NeededReason) -> None:
    """Stop a run at once, without its exit stages."""
    _act(context, run, "terminate", {"reason": reason})


def retry_failed(context: typer.Context, run: RunName, reason: OptionalReason = "") -> None:
    """Do again what failed, in the same run; what succeeded stays."""
    _act(context, run, "retry-failed", {"reason": reason})


def adopt(context: typer.Context, run: RunName, reason: OptionalReason = "") -> None:
    """Make the gates of a Workflow that was submitted with other tools the portal's."""
    _act(context, run, "adopt", {"reason": reason})


def rerun(
    context: typer.Context,
    run: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it to its end.")] = False,
) -> None:
    """Run the same commit again, as a new run."""
    client = config(context).client()
    _started(context, client, client.post(f"{run_path(run)}/rerun"), follow=follow)
