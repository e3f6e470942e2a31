"""Following a run to its end in a terminal: a live table, or plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from portal.visible import visible

from .client import Client
from .errors import UnreachableError
from .show import gate_lines, run_view, state_text

PAUSE = 0.5  # seconds between two looks
TICK = 2.0  # seconds after which the table is drawn anew although nothing happened
PATIENCE = 120.0  # seconds for which a portal may be away, while it is restarted, say
ENDED = frozenset({"succeeded", "failed", "error", "canceled", "rejected"})

OnGate = Callable[[dict[str, Any]], None]


def follow(
    client: Client,
    pipeline: str,
    number: int,
    *,
    console: Console,
    on_gate: OnGate | None = None,
    speakers: Mapping[str, str] | None = None,
) -> str:
    """Show a run until it has ended; returns its state.

    `on_gate` is called once for each plan that waits for approval, with the stage as the API tells it: `run`, `name`,
    `digest`, `summary`, `paused`, and `gate` with its `teams`. `speakers` names somebody of each team that a command
    can be tried with. Raises ApiError, and UnreachableError once the portal was away for PATIENCE.
    """
    return _Follower(client, f"{pipeline}/{number}", console, on_gate, speakers or {}).follow()


class _Follower:
    def __init__(
        self, client: Client, run: str, console: Console, on_gate: OnGate | None, speakers: Mapping[str, str]
    ) -> None:
        self.client, self.run, self.console = client, run, console
        self.on_gate, self.speakers = on_gate, speakers
        self.live: Live | None = None
        self._asked: set[tuple[str, str]] = set()

    def follow(self) -> str:
        with self._screen():
            state = "running"
            for changes in self._changes():
                detail = self.client.run(f"runs/{self.run}")
                self._tell(changes, detail)
                self._ask(detail)
                state = detail["state"]
                if state in ENDED:
                    break
        self.console.print(Text.assemble(f"Run {self.run}: ", state_text(state), visible(f". {detail['now']}")))
        return str(state)

    @contextmanager
    def _screen(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=2, transient=False) as self.live:
            yield

    def _changes(self) -> Iterator[list[dict[str, Any]]]:
        """What happened since the last time, whenever something did; the first time all that happened so far."""
        since, tag, first = 0, "", True
        away: float | None = None
        shown = time.monotonic()
        while True:
            try:
                answer, tag = self.client.changed(
                    f"runs/{self.run}/events", tag, since=since, kinds="run,stage,decision"
                )
            except UnreachableError:
                away = away or time.monotonic()
                if first or time.monotonic() - away > PATIENCE:
                    raise
                time.sleep(PAUSE)
                continue
            away = None
            if answer is not None:
                since = answer["next"]
                if answer["events"] or first:
                    first = False
                    yield answer["events"]
                    # More may be there already; only an answer with a tag was a complete one.
                    if not tag:
                        continue
            elif self.live is not None and time.monotonic() - shown > TICK:
                yield []  # nothing happened, but how long it has been waiting did change
            else:
                time.sleep(PAUSE)
                continue
            shown = time.monotonic()
            time.sleep(PAUSE)

    def _tell(self, changes: list[dict[str, Any]], detail: dict[str, Any]) -> None:
        if self.live is not None:
            self.live.update(run_view(detail))
            return
        for event in changes:
            if line := _line(event):
                self.console.print(line, soft_wrap=True)

    def _ask(self, detail: dict[str, Any]) -> None:
        for stage in detail["stages"]:
            key = (stage["name"], stage["digest"])
            if stage["state"] != "waiting" or stage["code"] != "approval" or key in self._asked:
                continue
            self._asked.add(key)
            for line in gate_lines(stage, self.speakers):
                self.console.print(line, soft_wrap=True)
            if self.on_gate:
                self.on_gate(stage)


def _line(event: dict[str, Any]) -> Text | None:
    """What happened, on one line; None for what needs no line of its own."""
    data, clock = event["data"], event["at"][11:19]
    if event["kind"] == "stage":
        if data["state"] == "queued" and data["code"] in ("", "plan"):
            return None
        reason = data["reason"].strip().partition("\n")[0]
        return Text.assemble(
            visible(f"{clock}  {event['stage'] or '':24} "), state_text(data["state"]), visible(f"  {reason}").rstrip()
        )
    if event["kind"] == "decision":
        words = [data["actor"], data["action"], event["stage"] or "", f"for {data['team']}" if data["team"] else ""]
        reason = f": {data['reason']}" if data["reason"] else ""
        return Text(visible(f"{clock}  {' '.join(word for word in words if word)}{reason}"))
    return None
