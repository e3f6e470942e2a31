"""Ansible's events, folded into what people and the plan need. Pure: events in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.executors.ansible.changes import Found, changes_of

COUNTS = ("ok", "changed", "failed", "unreachable", "skipped")
HIDDEN = "hidden by no_log"
_STATS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
}
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True, slots=True)
class Failure:
    host: str
    task: str
    message: str

    def __str__(self) -> str:
        return f"{self.host}, task “{self.task}”: {self.message}"


class Report:
    """`counts` has one entry per host, counted as Ansible does; `task` is the number of the last task; `warnings`
    is what the playbook said of a host for people to know, by `set_stats` of `burger_warnings`."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self.task = 0
        self.task_name = ""
        self.plays = 0
        self.failures: list[Failure] = []
        self.unreachable: dict[str, str] = {}
        self.warnings: dict[str, str] = {}
        self.found: list[Found] = []
        self.messages: list[str] = []
        self.finished = False
        self.stopped_early = False
        self._numbers: dict[str, int] = {}

    def add(self, event: Mapping[str, Any]) -> str:
        """Take one event; returns the lines that it adds to the log, each with its line end."""
        handler = getattr(self, f"_{event.get('event', '')}", None)
        return handler(event, event.get("event_data") or {}) if handler else ""

    def _playbook_on_play_start(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        self.plays += 1
        return f"PLAY {data.get('play') or data.get('name', '')}\n"

    def _playbook_on_task_start(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        self.task += 1
        self.task_name = _title(data)
        self._numbers.setdefault(str(data.get("task_uuid")), self.task)
        return f"TASK {self.task} {self.task_name}\n"

    def _playbook_on_no_hosts_remaining(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> str:
        self.stopped_early = True
        return "No host is left; the plays after this one are not begun.\n"

    def _playbook_on_no_hosts_matched(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> str:
        return "  no host matches\n"

    def _playbook_on_stats(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        self.finished = True
        hosts = sorted(data.get("processed") or {})
        self.counts = {
            host: {ours: (data.get(theirs) or {}).get(host, 0) for theirs, ours in _STATS.items()} for host in hosts
        }
        said = (data.get("artifact_data") or {}).get("burger_warnings") or {}
        self.warnings = {str(host): str(text) for host, text in said.items()} if isinstance(said, Mapping) else {}
        # A failure that a `rescue` made good is none.
        self.failures = [failure for failure in self.failures if self.counts[failure.host]["failed"]]
        return "".join(f"{host}: {_counted(self.counts[host])}\n" for host in hosts)

    def _runner_on_ok(self, event: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        result = data.get("res") or {}
        # Of a censored result only the line that Ansible printed still says whether it changed something.
        changed = result.get("changed") or ("censored" in result and _printed_as_changed(event))
        self._count(data, "ok")
        if changed:
            self._count(data, "changed")
            self._find(data)
        return _line("changed" if changed else "ok", data, HIDDEN if "censored" in result else "")

    def _runner_on_skipped(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        self._count(data, "skipped")
        if "check mode" in str((data.get("res") or {}).get("msg", "")):
            self._find(data)
        return _line("skipped", data)

    def _runner_on_failed(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        message = _message(data.get("res") or {})
        if data.get("ignore_errors"):
            return _line("ignored", data, message)
        self._count(data, "failed")
        self.failures.append(Failure(str(data.get("host")), _title(data), message))
        return _line("failed", data, message)

    def _runner_on_unreachable(self, _: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        message = _message(data.get("res") or {})
        self._count(data, "unreachable")
        self.unreachable[str(data.get("host"))] = message
        return _line("unreachable", data, message)

    def _verbose(self, event: Mapping[str, Any], _: Mapping[str, Any]) -> str:
        text = str(event.get("stdout", "")).rstrip()
        if text:
            self.messages.append(text)
        return f"{text}\n" if text else ""

    _warning = _deprecated = _error = _verbose

    def lose(self, away: Mapping[str, str]) -> None:
        """Of these hosts it is known by now that they do not answer: what failed there is no failure of the work."""
        self.failures = [failure for failure in self.failures if failure.host not in away]
        for host, why in away.items():
            self.unreachable[host] = why
            if (counts := self.counts.get(host)) and counts["failed"]:
                counts["unreachable"], counts["failed"] = counts["unreachable"] + counts["failed"], 0

    def _count(self, data: Mapping[str, Any], what: str) -> None:
        host = self.counts.setdefault(str(data.get("host")), dict.fromkeys(COUNTS, 0))
        host[what] += 1

    def _find(self, data: Mapping[str, Any]) -> None:
        number = self._numbers.get(str(data.get("task_uuid")), self.task)
        self.found += changes_of(number, str(data.get("host")), _title(data), data.get("res") or {})

    @property
    def error(self) -> str:
        """What Ansible said when it could not begin: a syntax error with its place, a wrong inventory."""
        text = "\n".join(self.messages)
        start = text.rfind("[ERROR]")
        return (text[start:] if start >= 0 else text)[:_LONGEST_MESSAGE].strip()


def _title(data: Mapping[str, Any]) -> str:
    name = str(data.get("task") or data.get("task_action") or "")
    return f"{data['role']} : {name}" if data.get("role") else name


def _line(state: str, data: Mapping[str, Any], message: str = "") -> str:
    indented = message.replace("\n", "\n    ")
    return f"  {state} {data.get('host')}{': ' if message else ''}{indented}\n"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in COUNTS)


def _printed_as_changed(event: Mapping[str, Any]) -> bool:
    return str(event.get("stdout", "")).lstrip().startswith("changed:")


def _message(result: Mapping[str, Any]) -> str:
    """Why a task failed, in the words of its module or, in a loop, of the items that failed."""
    if "censored" in result:
        return HIDDEN
    items = [item for item in result.get("results") or () if item.get("failed")]
    if items:
        return "; ".join(_message(item) for item in items)[:_LONGEST_MESSAGE]
    parts = [str(result.get("msg") or "").strip()]
    parts += [str(result.get(name) or "").strip() for name in ("stderr", "module_stderr")]
    text = "\n".join(dict.fromkeys(part for part in parts if part))
    return text[:_LONGEST_MESSAGE] or "failed without a message"
