"""The executor itself: plan, start, probe, cancel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pipelines.definition.credentials import concealed
from pipelines.executors import process
from pipelines.executors.ansible import places
from pipelines.executors.ansible.changes import ordered
from pipelines.executors.ansible.order import Order
from pipelines.executors.ansible.report import Report
from pipelines.executors.ansible.stream import WAKE_UP, Stream
from pipelines.executors.ansible.workbench import Workbench, clean, temporary
from pipelines.executors.attempt import Attempt
from pipelines.executors.base import (
    Control,
    EngineAwayError,
    Log,
    Outcome,
    Plan,
    PlanError,
    Probe,
    Progress,
    StageSpec,
    Unattended,
    Workplace,
    Yielded,
)


class AnsibleExecutor:
    """Runs `with.playbook` against `with.inventory`, both of the workspace at the run's commit."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace

    def plan(self, spec: StageSpec) -> Plan:
        """The playbook in check mode. Its tasks are carried out by Ansible's rules for `--check --diff`."""
        order = Order.of(spec)
        if silent := places.away(self._spots(spec, order)):
            raise EngineAwayError(f"{_silent(silent)} What would change there cannot be found out.")
        with temporary(self.workplace.home) as folder:
            bench = Workbench(self.workplace, spec, order, folder)
            report = _checked(bench)
            changes = ordered(report.found, _prefixes(self.workplace.home, bench))
        return Plan(
            summary=_summary(order, len(changes), spec.environment),
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={order.workspace.name: order.workspace.digest},
            parameters=_parameters(order),
            changes=changes,
            details={
                "hosts": sorted(report.counts),
                "unreachable": sorted(report.unreachable),
                "tasks": report.task,
            },
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        if not self._begun(attempt) and (silent := self._silent(spec)):
            yield Outcome("engine", f"{silent} Nothing was done.")
            return
        retry = spec.with_.get("_retry") or {}
        checked = spec
        if spec.approved_digest and retry.get("applied") == spec.approved_digest:
            # The attempt before applied a part of this very plan, so it cannot look the same any more.
            checked = replace(spec, approved_digest=None)
        yield from attempt.carry_out(self, checked, partial(self._play, spec))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=False)

    def cancel(self, spec: StageSpec, key: str) -> None:
        attempt = Attempt(self.workplace.folder(key))
        attempt.cancel()
        clean(attempt.folder)

    def _begun(self, attempt: Attempt) -> bool:
        """Whether there is something to join, to end or to tell again, for which no cluster has to be there."""
        return attempt.begun() or attempt.stopping() or attempt.probe(repeatable=False).state != "never_started"

    def _silent(self, spec: StageSpec) -> str:
        try:
            silent = places.away(self._spots(spec, Order.of(spec)))
        except PlanError:
            return ""  # said again, and handled, where the work begins
        return _silent(silent) if silent else ""

    def _spots(self, spec: StageSpec, order: Order) -> places.Spots:
        """The places that it is about: those that a retry is limited to, else all."""
        spots = places.spots_of(self.workplace.home, spec.environment)
        return tuple(spot for spot in spots if not order.retry_hosts or spot.name in order.retry_hosts)

    def _play(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        bench = Workbench(self.workplace, spec, Order.of(spec), attempt.folder)
        stream = Stream(bench.events, attempt.folder / "cursor")
        end = None
        for event in bench.run(attempt, check=False):
            yield from _said(event)
            yield from _news(stream)
            end = event
        clean(attempt.folder)
        if not isinstance(end, process.Exit):
            raise TypeError("process.run ended without an Exit.")
        lost = {failure.host for failure in stream.report.failures}
        stream.report.lose(places.away(spot for spot in bench.spots if spot.name in lost))
        yield _outcome(spec, bench, end, stream.report)


def _said(event: Log | process.Exit) -> Iterator[Log]:
    """What the child says besides waking us: the trace of an error of its own."""
    if isinstance(event, Log) and (text := re.sub(f"{WAKE_UP}\n?", "", event.text)):
        yield Log(text, event.receipt)


def _news(stream: Stream) -> Iterator[Log | Progress]:
    for log in stream.read():
        yield log
        report = stream.report
        yield Progress(report.task_name, done=report.task, data={"hosts": report.counts})


def _checked(bench: Workbench) -> Report:
    """The report of a run in check mode. Raises PlanError when it does not come to its end."""
    stream = Stream(bench.events, bench.folder / "cursor")
    said = ""
    for event in bench.run(Unattended(), check=True):
        if isinstance(event, process.Exit):
            end = event
        said += "".join(log.text for log in _said(event))
    for _ in stream.read():
        pass
    report, named = stream.report, f"The check of {bench.order.playbook}"
    if end.how != "exited":
        raise PlanError(f"{named} did not come to its end: {end.reason}.")
    if not report.finished:
        raise PlanError(f"{named} could not begin: {_relative(report.error or said.strip() or end.reason, bench)}")
    if report.failures:
        raise PlanError(f"{named} failed: {'; '.join(map(str, report.failures))}")
    if not report.counts:
        raise PlanError(f"{named} {_no_host(bench)}")
    return report


def _outcome(spec: StageSpec, bench: Workbench, end: process.Exit, report: Report) -> Outcome:
    data = {"hosts": report.counts, "exit_code": end.code, "warnings": report.warnings}
    hint: dict[str, Any] = {"applied": spec.approved_digest} if spec.approved_digest else {}
    if end.how != "exited":
        state = {"canceled": "canceled", "lost": "error"}.get(end.how, "failed")
        last = f" during “{report.task_name}”" if report.task_name else ""
        return Outcome(state, f"{end.reason}{last}", data, hint)  # type: ignore[arg-type]
    if not report.finished:
        text = report.error or end.reason
        # Ansible says why it cannot begin; when it said nothing, it is our own process that broke.
        return Outcome("failed" if report.messages else "error", _relative(text, bench), data)
    if report.failures or report.unreachable:
        if limit := _left_over(report, bench.playbook):
            hint["limit"] = limit
        return Outcome("failed" if report.failures else "error", _problems(report), data, hint)
    if not report.counts:
        return Outcome("failed", f"{bench.order.playbook} {_no_host(bench)}", data)
    if end.code:
        return Outcome("failed", f"Ansible ended with {end.reason}. {_relative(report.error, bench)}".strip(), data)
    return Outcome("succeeded", _total(report), data)


def _silent(silent: dict[str, str]) -> str:
    """Which places do not answer, and what each of their clusters is like."""
    why = " ".join(dict.fromkeys(silent.values()))
    return f"Unreachable: {', '.join(sorted(silent))}. {why}"


def _problems(report: Report) -> str:
    parts = [f"Failed: {'; '.join(map(str, report.failures))}"] if report.failures else []
    if report.unreachable:
        hosts = "; ".join(f"{host} ({message})" for host, message in sorted(report.unreachable.items()))
        parts.append(f"Unreachable: {hosts}")
    return ". ".join(parts)


def _left_over(report: Report, playbook: Path) -> list[str]:
    """The hosts to which a retry may be limited; none where others have not been through all plays either."""
    if not report.unreachable or (report.stopped_early and report.plays < _plays(playbook)):
        return []
    return sorted({*report.unreachable, *(failure.host for failure in report.failures)})


def _plays(playbook: Path) -> float:
    """How many plays a playbook has; without end where it imports others."""
    plays = yaml.safe_load(playbook.read_text())
    imports = any("import_playbook" in name for play in plays for name in play)
    return float("inf") if imports else len(plays)


def _no_host(bench: Workbench) -> str:
    limit = f" within the limit {bench.limit!r}" if bench.limit else ""
    return f"found no host to work on in {bench.order.inventory}{limit}. Compare its `hosts` with the inventory."


def _total(report: Report) -> str:
    changed = sum(counts["changed"] for counts in report.counts.values())
    hosts = len(report.counts)
    done = f"{changed} change{'s' * (changed != 1)}" if changed else "nothing to change"
    said = "".join(f". Warning: {host}: {text}" for host, text in sorted(report.warnings.items()))
    return f"{done} on {hosts} host{'s' * (hosts != 1)}{said}"


def _summary(order: Order, count: int, environment: str | None) -> str:
    target = f" on {environment}" if environment else ""
    if not count:
        return f"run {order.playbook}{target}: no changes"
    return f"run {order.playbook}{target}: {count} change{'s' * (count != 1)}"


def _parameters(order: Order) -> dict[str, str]:
    """What the playbook is given; of secrets their references."""
    given: dict[str, Any] = {"playbook": order.playbook, "inventory": order.inventory}
    given |= {"limit": order.hosts, "tags": order.tags, "vault_password": order.vault_password}
    given |= {f"variable {name}": value for name, value in concealed(order.variables).items()}
    given |= {f"secret {name}": reference for name, reference in order.secrets.items()}
    return {name: str(value) for name, value in sorted(given.items()) if value}


def _prefixes(home: Path, bench: Workbench) -> list[str]:
    paths = (bench.tree, home, bench.private)
    return [str(form) for path in paths for form in (path, path.resolve())]


def _relative(text: str, bench: Workbench) -> str:
    """The text with files of the workspace named as in the repository."""
    for tree in {str(bench.tree), str(bench.tree.resolve())}:
        text = text.replace(f"{tree}/", "")
    return bench.masker.mask(text)
