"""Runs, stages, plans and lists as they look in a terminal. What comes from the portal is never taken as markup."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from portal.changes import ObjectChange
from portal.changes import read as read_changes
from portal.visible import visible

Json = dict[str, Any]

_LOOK = {
    "pending": ("·", "dim"),
    "waiting": ("‖", "yellow"),
    "queued": ("…", "cyan"),
    "running": ("▸", "blue"),
    "unknown": ("?", "magenta"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "error": ("!", "red"),
    "skipped": ("↷", "dim"),
    "omitted": ("-", "dim"),
    "canceled": ("■", "dim"),
    "rejected": ("✗", "red"),
}


def state_text(state: str) -> Text:
    sign, style = _LOOK.get(state, (" ", ""))
    return Text(f"{sign} {state}", style=style)


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def lasted(start: str | None, end: str | None) -> str:
    begun = moment(start)
    if begun is None:
        return ""
    seconds = int(((moment(end) or datetime.now(UTC)) - begun).total_seconds())
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def ago(text: str | None) -> str:
    found = moment(text)
    return found.astimezone().strftime("%Y-%m-%d %H:%M") if found else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for position, column in enumerate(columns):
        # What a row is called is what people copy: it stays in one piece.
        made.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
    return made


# --- runs -----------------------------------------------------------------------------------------


def run_view(run: Json) -> RenderableType:
    head = Text.assemble((f"{run['run']}  ", "bold"), state_text(run["state"]), f"  {visible(run['subject'])}")
    by = visible(run["author"] or run["trigger"])
    facts = Text(f"{run['commit'][:10]} on {visible(_short(run['ref']))}, by {by}", style="dim")
    rows = [_stage_row(stage) for stage in run["stages"]]
    stages = table(("stage", "team", "state", "time", ""), rows)
    why = [Text(visible(run["reason"]))] if "\n" in run["reason"] else []
    return Group(head, facts, Text(visible(run["now"])), *why, stages)


def _stage_row(stage: Json) -> tuple[str | Text, ...]:
    words = stage["reason"] or (stage["progress"]["text"] if stage["state"] == "running" else "") or ""
    return (
        stage["name"],
        stage["owner"],
        state_text(stage["state"]),
        lasted(stage["started_at"], stage["ended_at"]),
        words.strip().partition("\n")[0][:100],
    )


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/")


def run_rows(runs: Sequence[Json]) -> Table:
    rows = [
        (run["run"], state_text(run["state"]), run["commit"][:10], _short(run["ref"]), run["subject"][:60],
         ago(run["created_at"]))
        for run in runs
    ]  # fmt: skip
    return table(("run", "state", "commit", "ref", "subject", "begun"), rows)


# --- gates ----------------------------------------------------------------------------------------


def gate_lines(stage: Json, speakers: Mapping[str, str]) -> Iterator[Text]:
    """Who is asked what, where to read it, and the command that answers."""
    place = f"{stage['run']}/{stage['name']}"
    teams = [team for team in stage["gate"]["teams"] if team["approved"] < team["quorum"]]
    names = " and ".join(f"{team['team']} ({team['approved']} of {team['quorum']})" for team in teams)
    what = stage["reason"] if stage["paused"] else (stage["summary"] or "let it go on")
    yield Text(f"\n‖ {visible(place)} waits for {names}: {visible(what)}", style="yellow")
    if stage["warning"]:
        yield Text(f"  careful        {visible(stage['warning'])}", style="bold red")
    yield Text(f"  read it at     {stage['url']}")
    for team in teams:
        who = f" --as {speakers[team['team']]}" if team["team"] in speakers else ""
        # It is taken over into a shell, and a name may be anybody's.
        command = f"{program()}{who} approve {shlex.quote(place)} --digest {stage['digest']}"
        yield Text(f"  approve it by  {visible(command)}    ({team['team']})")


def program() -> str:
    """How this very program is started from the present folder."""
    own = Path(sys.executable).with_name("burger")
    if shutil.which("burger") or not own.exists():
        return "burger"
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)


def question_rows(questions: Sequence[Json]) -> Table:
    rows = [
        (f"{q['run']}/{q['name']}", ", ".join(q["missing"]) or q["owner"], q["summary"] or q["reason"],
         str(len(q["blocked"])), ago(q["since"]))
        for q in questions
    ]  # fmt: skip
    return table(("stage", "waits for", "to", "blocks", "since"), rows)


def plan_view(stage: Json) -> RenderableType:
    """Exactly what is approved, ending with its digest."""
    parts: list[RenderableType] = [Text(visible(f"{stage['run']}/{stage['name']}"), style="bold")]
    if stage["paused"]:
        parts.append(Text(visible(f"It paused: {stage['question']['reason']}")))
    plan = stage["plan"] or {}
    if plan:
        source = f", from commit {plan['commit'][:12]}" if plan["commit"] else ""
        parts.append(Text(visible(f"It would {plan['summary']}{source}.")))
    for one in (stage["gate"] or {}).get("values") or ():
        what = one["description"] or " or ".join(one["choices"]) or "anything"
        parts.append(Text(visible(f"  asks for {one['name']}: {what}")))
    for name, digest in (plan.get("artifacts") or {}).items():
        parts.append(Text(visible(f"  {name}  {digest}"), style="dim"))
    parts += _changes(plan.get("changes") or ())
    if not plan and not stage["paused"]:
        parts.append(Text("It has no plan: only a stage with a gate has one, once everything before it is done."))
    if stage["warning"]:
        parts.append(Text(f"Careful: {visible(stage['warning'])}", style="bold red"))
    parts.append(Text(f"digest {stage['digest'] or 'none'}", style="dim"))
    return Group(*parts)


def _changes(changes: Sequence[Json]) -> Iterator[Text]:
    """In words first; then the differences, what is the same in several places once."""
    words = read_changes(changes)
    yield from (_change(change) for change in words.plain)
    if words.objects:
        yield Text(f"  {visible(words.counts)}")
    for text in words.overrides:
        yield Text(f"  takes back what others did: {visible(text)}", style="yellow")
    every = [one for _, objects in words.groups for one in objects]
    yield from (_object(one, words.where(one)) for one in every)
    for one in every:
        for places, diff in one.diffs:
            if diff:
                yield _diff(f"\n  {one.kind}/{one.name} in {', '.join(places)}", diff)


def _object(one: ObjectChange, where: str) -> Text:
    sign, style = {"create": ("+", "green"), "delete": ("-", "red")}.get(one.verb, ("~", "yellow"))
    text = Text.assemble((f"  {sign} {one.word} ", style), visible(one.title), f" only in {where}" if where else "")
    for fact in one.told:
        change = " → ".join(short for value in (fact.before, fact.after) if (short := _brief(value)))
        text.append(f"\n      {visible(fact.what)}: {visible(change)}" if change else f"\n      {visible(fact.what)}")
    if one.more:
        text.append(f"\n      and {one.more} more", style="dim")
    return text


def _brief(value: str) -> str:
    return re.sub(r"\b(?:sha256:)?([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", value)[:100]


def _change(change: Mapping[str, Any]) -> Text:
    text = Text(f"  {visible(change['title'])}")
    if change["before"] or change["after"]:
        # A value of several lines must not look like lines of the plan.
        values = f": {change['before'] or 'nothing'} → {change['after'] or 'nothing'}".replace("\n", "\n      ")
        text.append(visible(values))
    return text.append_text(_diff("", change["diff"])) if change["diff"] else text


def _diff(title: str, diff: str) -> Text:
    text = Text(visible(title))
    for line in diff.splitlines():
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        text.append(f"\n    {visible(line)}", style=style)
    return text


# --- the rest -------------------------------------------------------------------------------------


def environment_rows(environments: Sequence[Json]) -> Table:
    rows = []
    for one in environments:
        current = one["current"] or {"name": "nothing yet", "commit": "", "verified_at": None, "rolled_out_at": None}
        verified = "verified" if current["verified_at"] else ""
        holder = f"run {one['pipeline']}/{one['holder']} changes it" if one["holder"] else ""
        rows.append(
            (one["environment"], one["owner"], current["name"], current["commit"][:10],
             ago(current["rolled_out_at"]), verified or holder)
        )  # fmt: skip
    return table(("environment", "team", "release", "commit", "since", ""), rows)


def environment_view(environment: Json) -> RenderableType:
    """What is there right now, place by place, and what is not as it should be."""
    live = environment["live"]
    head = Text.assemble((f"{environment['environment']}  ", "bold"), visible(live["release"] or "nothing runs here"))
    parts: list[RenderableType] = [head]
    notes = [(live["problem"], "red")]
    if live["held"]:
        notes.append((f"Rolled back to {live['held']}, which holds until somebody of {environment['owner']} lets the "
                      "next rollout go on.", "yellow"))  # fmt: skip
    notes += [(f"Somebody else changed: {one}", "yellow") for one in live["drift"]]
    parts += [Text(visible(text), style=style) for text, style in notes if text]
    if live["rolling"]:
        parts.append(Text(", ".join(f"{weight} % {release}" for release, weight in live["weights"].items())))
    for place in live["places"]:
        parts += _place(place)
    return Group(*parts)


def _place(place: Json) -> Iterator[RenderableType]:
    if place["place"]:
        yield Text(f"\n{visible(place['place'])}", style="bold")
    if place["away"]:
        yield Text(f"? {visible(place['away'])}", style="magenta")
        return
    if not place["services"]:
        return
    rows = []
    for one in place["services"]:
        sign, style = ("✓", "green") if one["ready"] >= one["wanted"] else ("‖", "yellow")
        ready = Text(f"{sign} {one['ready']} of {one['wanted']}", style=style)
        rows.append((one["service"], ready, one["release"] or "only replaced when changed", _brief(one["digest"])))
    yield table(("service", "ready", "release", "digest"), rows)
    yield from (Text(f"✗ {visible(text)}", style="red") for text in place["troubles"])


def audit_rows(entries: Sequence[Json]) -> Table:
    rows = [
        (ago(e["at"]), e["actor"], e["action"], e["target"],
         Text("allowed", style="green") if e["allowed"] else Text("refused", style="red"), e["reason"])
        for e in entries
    ]  # fmt: skip
    return table(("when", "who", "did", "to", "", "reason"), rows)


def engine_rows(answer: Json) -> RenderableType:
    """What each is, what is known of it, and how its test ended where there was one."""
    parts: list[RenderableType] = [Text(visible(answer["problem"]), style="red")] if answer["problem"] else []
    for row in answer["engines"]:
        parts.append(Text(visible(row["title"]), style="bold"))
        found = row.get("finding")
        if found:
            sign, style = ("✓", "green") if found["ok"] else ("✗", "red")
            parts.append(Text(f"  {sign} {visible(found['says'])}", style=style))
        facts = row["facts"] | (found["facts"] if found else {})
        parts += [Text(f"  {visible(name)}: {visible(text)}") for name, text in facts.items() if text]
        if found and found["todo"]:
            parts.append(Text(f"  What to do: {visible(found['todo'])}"))
    return Group(*parts)
