"""Commands about stages: their plans and logs, and the decisions about them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from portal.visible import in_log, visible

from .common import AsJson, NeededReason, OptionalReason, StageName, config, console, named, show, stage_of
from .errors import CommandError, NotAskedError

PAUSE = 0.5  # seconds between two looks at a log
SHORTEST = len("sha256:") + 8  # a digest may be cut off as people do it with commits

Digest = Annotated[str, typer.Option(help="Of the plan that you have read; its beginning is enough.")]
Team = Annotated[str, typer.Option(help="The team to speak for, if you are in several that are asked.")]
Values = Annotated[
    list[str] | None, typer.Option("--value", metavar="NAME=VALUE", help="What the gate asks for; of each, one.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    commands: dict[str, Callable[..., None]] = {
        "log": log, "plan": plan, "inbox": inbox, "approve": approve, "reject": reject, "retry": retry, "skip": skip,
        "promote": promote, "promote-full": promote_full, "abort": abort, "override-freeze": override_freeze,
    }  # fmt: skip
    for name, command in commands.items():
        app.command(name)(command)


def inbox(context: typer.Context, as_json: AsJson = False) -> None:
    """List what waits for you, and what you wait for."""
    from rich.console import Group
    from rich.text import Text

    from .show import question_rows

    answer = config(context).client().get("inbox")
    parts: list[Any] = [question_rows(answer["mine"]) if answer["mine"] else Text("Nothing waits for you.")]
    for team, questions in answer["others"].items():
        parts += [Text(f"\nYou wait for {team}:", style="bold"), question_rows(questions)]
    show(answer, Group(*parts), as_json=as_json)


def plan(context: typer.Context, stage: StageName, as_json: AsJson = False) -> None:
    """Show exactly what a stage would do."""
    from .show import plan_view

    answer = config(context).client().get(stage_of(stage))
    show(answer["plan"], plan_view(answer), as_json=as_json)


def log(
    context: typer.Context,
    stage: StageName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the stage has ended.")] = False,
) -> None:
    """Print a stage's log."""
    client, path, since = config(context).client(), f"{stage_of(stage)}/log", 0
    while True:
        answer = client.get(path, since=since, limit=1000)
        since = answer["next"]
        for part in answer["parts"]:
            sys.stdout.write(in_log(part["text"]) if sys.stdout.isatty() else part["text"])
        sys.stdout.flush()
        if answer["complete"] or (not answer["parts"] and not follow):
            return
        if not answer["parts"]:
            time.sleep(PAUSE)


def approve(
    context: typer.Context, stage: StageName, digest: Digest = "", reason: OptionalReason = "", team: Team = "",
    value: Values = None, yes: Yes = False,
) -> None:  # fmt: skip
    """Show a stage's plan, ask, and approve exactly that plan."""
    body = {"reason": reason, "team": team, "values": named(value or [], "value")}
    _decide(context, stage, "approve", digest, body, yes=yes)


def reject(
    context: typer.Context, stage: StageName, reason: NeededReason, digest: Digest = "", team: Team = "",
    yes: Yes = False,
) -> None:  # fmt: skip
    """Show a stage's plan, ask, and reject it."""
    _decide(context, stage, "reject", digest, {"reason": reason, "team": team}, yes=yes)


def _decide(context: typer.Context, name: str, verb: str, digest: str, body: dict[str, Any], *, yes: bool) -> None:
    """The digest that is sent is the one that was shown, or that was named: never one that nobody has read."""
    from .show import plan_view

    client, path = config(context).client(), stage_of(name)
    shown = client.get(path)
    if not digest and not shown["digest"]:
        why = f" ({shown['reason']})" if shown["reason"] else ""
        raise NotAskedError(
            visible(f"{shown['run']}/{shown['name']} waits for no approval: it is {shown['state']}{why}.")
        )
    if digest and not digest.startswith("sha256:"):
        digest = f"sha256:{digest}"
    if len(digest) >= SHORTEST and shown["digest"].startswith(digest):
        digest = shown["digest"]
    console().print(plan_view(shown))
    if shown["may"][verb]["allowed"] and not yes and (not digest or sys.stdin.isatty()):
        if not sys.stdin.isatty():
            raise CommandError(f"Nobody can be asked here: say --yes, or name the plan by --digest {shown['digest']}.")
        what = "let it go on" if shown["paused"] else shown["summary"] or "let it go on"
        if verb == "approve":
            body["values"] = {**_asked(shown, body["values"]), **body["values"]}
        typer.confirm(visible(f"Approve and {what}?") if verb == "approve" else "Reject it?", abort=True)
    _tell(client.post(f"{path}/{verb}", {"digest": digest or shown["digest"], **body}))


def _asked(shown: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """What the gate asks for and nobody has said, asked of whoever sits there."""
    found = {}
    for one in (shown["gate"] or {}).get("values") or ():
        if one["name"] not in given:
            about = f" ({one['description']})" if one["description"] else ""
            choices = f" [{' or '.join(one['choices'])}]" if one["choices"] else ""
            found[one["name"]] = typer.prompt(visible(f"{one['name']}{about}{choices}"), default=one["default"])
    return found


def _tell(stage: dict[str, Any]) -> None:
    why = f": {stage['reason']}" if stage["reason"] else ""
    print(visible(f"{stage['run']}/{stage['name']} is {stage['state']}{why}"))


def _act(context: typer.Context, stage: str, action: str, body: dict[str, str]) -> None:
    _tell(config(context).client().post(f"{stage_of(stage)}/{action}", body))


def retry(context: typer.Context, stage: StageName, reason: OptionalReason = "") -> None:
    """Do a stage that has ended again."""
    _act(context, stage, "retry", {"reason": reason})


def skip(context: typer.Context, stage: StageName, reason: NeededReason) -> None:
    """Go on without a stage."""
    _act(context, stage, "skip", {"reason": reason})


def promote(context: typer.Context, stage: StageName, reason: OptionalReason = "") -> None:
    """Let a rollout take its next step now."""
    _act(context, stage, "steer", {"command": "promote", "reason": reason})


def promote_full(context: typer.Context, stage: StageName, reason: OptionalReason = "") -> None:
    """Let a rollout take all the steps that are left."""
    _act(context, stage, "steer", {"command": "promote-full", "reason": reason})


def abort(context: typer.Context, stage: StageName, reason: OptionalReason = "") -> None:
    """End a rollout; the stable release serves everybody again."""
    _act(context, stage, "steer", {"command": "abort", "reason": reason})


def override_freeze(context: typer.Context, stage: StageName, reason: NeededReason) -> None:
    """Let a stage go on although its environment is frozen."""
    _act(context, stage, "override-freeze", {"reason": reason})
