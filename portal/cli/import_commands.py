"""`burger import`: workflows of other engines, read and drawn before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, config, console, print_json, read_file
from .errors import FAILED, CommandError

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.engines.argo.reading import Source

MOST_NAMES = 4

importing = typer.Typer(help="Read workflows that exist elsewhere.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    importing.command("argo")(argo)
    app.add_typer(importing, name="import")


@importing.callback()
def _group() -> None:
    """Read workflows that exist elsewhere."""


def argo(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files or folders; - reads standard input.")],
    owners: Annotated[str, typer.Option(help="An ownership file: which team owns which tasks.")] = "",
    teams: Annotated[
        str, typer.Option(help="The teams that exist, separated by commas; else they are not checked.")
    ] = "",
    cluster: Annotated[
        str, typer.Option(help="Where templates are that no file holds; the portal asks it, as connections.yaml says.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Their namespace, where the workflow says none.")] = "default",
    to: Annotated[str, typer.Option(help="`pipeline`: print the workflow as a pipeline file instead.")] = "",
    submit: Annotated[str, typer.Option(help="Submit it as a run of this pipeline; with --owners and --place.")] = "",
    dry_run: Annotated[bool, typer.Option(help="With --submit: only show what would be submitted.")] = False,
    place: Annotated[str, typer.Option(help="With --to, --submit: where it runs, a workflow place.")] = "argo",
    path: Annotated[str, typer.Option(help="With --to: the workflow's file in the repository.")] = "",
    owner: Annotated[str, typer.Option(help="With --to: the team of what --owners gives to nobody.")] = "",
    workflow: Annotated[str, typer.Option(help="With --to, --submit: which workflow, where there are several.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the whole graph of workflows of Argo before they run, and report all problems. Needs a portal only for
    --cluster."""
    sources = [source for name in files for source in _sources(name)]
    if not sources:
        raise CommandError(f"{', '.join(files)}: no .yaml, .yml or .json file was found there.")
    rules = next(_sources(owners)) if owners else None
    if to not in ("", "pipeline"):
        raise CommandError(f"--to is {to!r}; expected pipeline.")
    known = {team.strip() for team in teams.split(",") if team.strip()} if teams else None
    body = {"files": [_sent(source) for source in sources], "cluster": cluster, "namespace": namespace}
    body |= {"owners": _sent(rules)["text"]} if rules else {}
    if submit:
        if rules is None:
            raise CommandError("--submit needs --owners: whose its tasks are, and who is asked.")
        order = {"place": place, "workflow": workflow, "dry_run": dry_run}
        _print_submitted(config(context).client().post(f"pipelines/{submit}/workflows", body | order), as_json=as_json)
        return
    if to:
        wanted = {"place": place, "path": path or sources[0].name, "owner": owner, "workflow": workflow}
        if cluster:
            converted = config(context).client().post("imports/argo/pipeline", body | wanted)
        else:
            converted = _converted(sources, rules, known, wanted)
        _print_pipeline(converted, as_json=as_json)
        return
    if cluster:
        answer: dict[str, Any] = config(context).client().post("imports/argo", body)
    else:
        from pipelines.engines.argo.importing import import_files

        answer = import_files(sources, owners=rules, teams=known).plain()
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if not answer["ok"]:
        raise typer.Exit(FAILED)


def _converted(
    sources: list[Source], owners: Source | None, teams: set[str] | None, wanted: dict[str, str]
) -> dict[str, Any]:
    from pipelines.engines.argo.chosen import AdoptError
    from pipelines.engines.argo.convert import Wish, convert_files

    wish = Wish(wanted["place"], wanted["path"], wanted["owner"])
    try:
        found = convert_files(sources, wish, owners=owners, teams=teams, document=wanted["workflow"])
    except AdoptError as error:
        sys.stderr.write(error.report)
        raise CommandError(str(error)) from error
    return {"pipeline": found.text, "lost": list(found.lost)}


def _print_pipeline(converted: dict[str, Any], *, as_json: bool) -> None:
    """The pipeline file on standard output, what it does not say on standard error."""
    if as_json:
        print_json(converted)
        return
    sys.stdout.write(converted["pipeline"])
    for one in converted["lost"]:
        print(one, file=sys.stderr)


def _print_submitted(answer: dict[str, Any], *, as_json: bool) -> None:
    from portal.visible import visible

    from .show import table

    if as_json:
        print_json(answer)
        return
    rows = [
        (one["name"], one["kind"], one["owner"], ", ".join(f"{n} of {team}" for team, n in (one["gate"] or {}).items()))
        for one in answer["stages"]
    ]
    console().print(table(("stage", "kind", "team", "asks"), rows))
    for note in answer["notes"]:
        print(visible(note))
    if answer["diff"]:
        print("Gates change what is submitted:")
        print(visible(answer["diff"]))
    print(f"Run {answer['run']}" if answer["run"] else "Nothing was submitted.")


def _sources(name: str) -> Iterator[Source]:
    """A file, or all files of a folder. Raises CommandError."""
    from pipelines.engines.argo.reading import Source

    try:
        if name == "-":
            yield Source(name, read_file(name))
            return
        path = Path(name)
        inside = sorted(one for one in path.rglob("*") if one.suffix in (".yaml", ".yml", ".json") and one.is_file())
        for one in inside if path.is_dir() else [path]:
            yield Source(str(one), read_file(str(one)))
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from error


def _sent(source: Source) -> dict[str, str]:
    try:
        return {"name": source.name, "text": source.text.decode()}
    except UnicodeDecodeError:
        raise CommandError(f"{source.name} is no text in UTF-8.") from None


def _print(answer: dict[str, Any]) -> None:
    from portal.visible import visible

    screen = console()
    for graph in answer["graphs"]:
        place = f"{graph['file']}:{graph['line']}"
        starts = f", {graph['starts']}" if graph["starts"] else ""
        screen.print(visible(f"{graph['kind']} {graph['name']}  ({place}{starts})"), style="bold")
        screen.print(_tasks(graph))
        print()
        if diff := answer["diffs"].get(f"{graph['kind']} {graph['name']}"):
            print("Gates change what is submitted:")
            print(visible(diff))
    for note in answer["notes"]:
        print(visible(note))
    sys.stdout.write(visible(answer["report"]))
    tasks, count = sum(len(graph["tasks"]) for graph in answer["graphs"]), len(answer["problems"])
    print(
        f"{len(answer['graphs'])} workflow{_s(len(answer['graphs']))}, {tasks} task{_s(tasks)}, "
        f"{count or 'no'} problem{_s(count)}"
    )


def _tasks(graph: dict[str, Any]) -> Table:
    from .show import table

    owned = any(task["team"] for task in graph["tasks"])
    heads = ("task", "after", "template", "kind", *(("team",) if owned else ()), "when and how often")
    rows = [
        ("  " * task["path"].count("/") + task["name"], _after(task, graph), task["template"], _kind(task))
        + ((task["team"],) if owned else ())
        + ("\n".join(_says(task)),)
        for task in graph["tasks"]
    ]
    return table(heads, rows)


def _after(task: dict[str, Any], graph: dict[str, Any]) -> str:
    names = [graph["tasks"][need]["name"] for need in task["needs"]]
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _kind(task: dict[str, Any]) -> str:
    role = {"hook": "hook: ", "exit": "at the end: "}.get(task["role"], "")
    return role + (task["does"] or "not known") + (", daemon" if task["daemon"] else "")


def _says(task: dict[str, Any]) -> Iterator[str]:
    if task["gate"]:
        yield "asks " + " and ".join(f"{count} of {team}" for team, count in task["gate"].items()) + " before"
    if task["never"]:
        yield f"never: {task['never']}"
    if task["condition"]:
        yield f"needs {task['condition']}"
    if task["fan"] and task["fan"]["width"] is not None:
        yield f"{task['fan']['width']} times, {task['fan']['by']}"
    if task["suspend"]:
        yield f"waits {task['suspend']}"
    if task["retries"]:
        yield f"is tried again, {task['retries']}"
    yield from task["unknown"]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
