"""Commands about pipelines, environments, the record and yourself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from .common import AsJson, NeededReason, config, read_file, show
from .config import Config
from .errors import FAILED, CommandError

MOST_WARNINGS = 20

token = typer.Typer(help="Make, list and revoke your own tokens.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    commands: dict[str, Callable[..., None]] = {
        "lint": lint, "schema": schema, "pipelines": pipelines, "environments": environments, "engines": engines,
        "rollback": rollback,
        "audit": audit, "me": me, "whoami": me, "hook": hook,
    }  # fmt: skip
    for name, command in commands.items():
        app.command(name)(command)
    app.add_typer(token, name="token")


def lint(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="- reads standard input.")],
    teams: Annotated[
        str, typer.Option(help="The teams that exist, separated by commas; else the portal is asked.")
    ] = "",
) -> None:
    """Report all problems of a pipeline file. Needs no portal, but then the teams have to be named."""
    from pipelines.definition.parse import parse
    from pipelines.definition.report import format_problems

    text = read_file(file)
    _warn_of_hidden(file, text)
    known = {team.strip() for team in teams.split(",")} if teams else _teams(config(context))
    result = parse(text, teams=known)
    if known is None:
        print("Teams were not checked: no portal was in reach. Name them with --teams.", file=sys.stderr)
    if result.definition is not None:
        print(f"{file}: {len(result.definition.stages)} stages, no problems")
        return
    sys.stdout.write(format_problems(result.problems, file, text))
    print(f"{file}: {len(result.problems)} problem{'s' if len(result.problems) != 1 else ''}")
    raise typer.Exit(FAILED)


def _warn_of_hidden(file: str, text: bytes) -> None:
    """What cannot be seen in a file may make it look like another one."""
    from portal.visible import hidden, visible

    lines = text.decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
    places = ((number, line, at) for number, line in enumerate(lines, 1) for at in hidden(line))
    for number, line, at in islice(places, MOST_WARNINGS):
        print(f"{file}:{number}:{at + 1}: warning: nobody can see the {visible(line[at])} here", file=sys.stderr)


def _teams(known: Config) -> set[str] | None:
    """The teams of the portal that is configured here; None where none is, or it does not answer."""
    from .errors import ApiError, UnreachableError

    try:
        return {team["slug"] for team in known.client(for_anybody=True).get("teams")}
    except (CommandError, ApiError, UnreachableError):
        return None


def schema() -> None:
    """Print the JSON Schema of pipeline files."""
    from pipelines.definition.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def pipelines(context: typer.Context, as_json: AsJson = False) -> None:
    """List pipelines."""
    from .show import table

    answer = config(context).client().get("pipelines")
    rows = [(p["slug"], p["owner"], str(p["runs"]), p["repository"]) for p in answer]
    show(answer, table(("pipeline", "team", "runs", "repository"), rows), as_json=as_json)


def environments(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="[PIPELINE/ENVIRONMENT]")] = "",
    as_json: AsJson = False,
) -> None:
    """List environments and what runs in them; or show what is in one right now, place by place."""
    from .show import environment_rows, environment_view

    client = config(context).client()
    if environment:
        answer = client.get(f"environments/{'/'.join(_environment(environment))}")
        show(answer, environment_view(answer), as_json=as_json)
        return
    answer = client.get("environments")
    show(answer, environment_rows(answer), as_json=as_json)


def _environment(named: str) -> tuple[str, str]:
    pipeline, slash, name = named.partition("/")
    if not slash:
        raise CommandError(f"{named!r} names no environment; expected PIPELINE/ENVIRONMENT, such as shop/staging.")
    return pipeline, name


def engines(
    context: typer.Context,
    test: Annotated[bool, typer.Option("--test", help="Test each of them now.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what the work is done with: Docker Engine, registries, clusters."""
    from .show import engine_rows

    client = config(context).client()
    answer = client.get("engines")
    if test:
        for row in answer["engines"]:
            row["finding"] = client.post("engines/test", {"kind": row["kind"], "name": row["name"]})
    show(answer, engine_rows(answer), as_json=as_json)
    if answer["problem"] or any(not row["finding"]["ok"] for row in answer["engines"] if test):
        raise typer.Exit(FAILED)


def rollback(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="PIPELINE/ENVIRONMENT")],
    release: str,
    reason: NeededReason,
) -> None:
    """Bring a kept release back, at once."""
    pipeline, name = _environment(environment)
    body = {"release": release, "reason": reason}
    answer = config(context).client().post(f"environments/{pipeline}/{name}/rollback", body)
    print(f"Run {answer['run']}  {answer['url']}")


def audit(
    context: typer.Context,
    target: Annotated[str, typer.Option(help="The beginning of one, such as run:shop/.")] = "",
    actor: Annotated[str, typer.Option(help="A username.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 30,
    as_json: AsJson = False,
) -> None:
    """Show what was done and refused, newest first."""
    from .show import audit_rows

    answer = config(context).client().get("audit", target=target, actor=actor, size=limit)
    show(answer["results"], audit_rows(answer["results"]), as_json=as_json)


def me(context: typer.Context, as_json: AsJson = False) -> None:
    """Say who you are to the portal."""
    from rich.text import Text

    answer = config(context).client().get("me")
    teams = ", ".join(f"{team['role']} of {team['team']}" for team in answer["teams"]) or "in no team"
    show(answer, Text(f"{answer['username']}: {teams}"), as_json=as_json)


def hook(
    context: typer.Context,
    pipeline: str,
    repository: Annotated[Path, typer.Option(help="The repository that is pushed to, on this machine.")],
) -> None:
    """Make pushes to a git repository start runs. For those who may manage the pipeline."""
    from pipelines.webhooks.install import HookError, install_hook

    answer = config(context).client().get(f"pipelines/{pipeline}")
    if not answer["webhook_secret"]:
        raise CommandError(f"The hook needs the pipeline's secret. {answer['may']['manage']['reason']}")
    url = next(one["url"] for one in answer["webhooks"] if one["provider"] == "git")
    try:
        path = install_hook(repository, url=url, secret=answer["webhook_secret"])
    except (HookError, OSError) as error:
        raise CommandError(str(error)) from error
    print(f"{path} announces every push to {url}")


@token.command("list")
def token_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List your tokens."""
    from .show import ago, table

    answer = config(context).client().get("tokens")
    rows = [
        (t["id"], ago(t["created"]), ago(t["expires"]) or "never", "this one" if t["current"] else "") for t in answer
    ]
    show(answer, table(("token", "made", "expires", ""), rows), as_json=as_json)


@token.command("create")
def token_create(
    context: typer.Context, days: Annotated[int, typer.Option(min=1, max=365, help="How long it works.")] = 30
) -> None:
    """Make a token and print it, this once."""
    print(config(context).client().post("tokens", {"days": days})["token"])


@token.command("renew")
def token_renew(
    context: typer.Context, days: Annotated[int, typer.Option(min=1, max=365, help="How long the new one works.")] = 30
) -> None:
    """Put a new token in the place of the one that you use, which works no longer. Before it expires."""
    from .client import Client

    known = config(context)
    client = known.client()
    old = next((one["id"] for one in client.get("tokens") if one["current"]), None)
    if old is None:
        raise CommandError("Only a token can be renewed, and the portal was not asked with one. Say --token or --as.")
    made = client.post("tokens", {"days": days})["token"]
    # Kept before the old one is given up: whatever fails now, one of them works and is known.
    kept = known.keep(client.url, made)
    print(f"The new token is in {kept} and works for {days} days." if kept else made)
    Client(client.url, made).delete(f"tokens/{old}")


@token.command("revoke")
def token_revoke(context: typer.Context, token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Make one of your tokens worthless."""
    config(context).client().delete(f"tokens/{token_id}")
    print(f"Token {token_id} is revoked.")
