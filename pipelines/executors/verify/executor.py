"""The executor itself: plan, start, probe, cancel."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.executors import rollout
from pipelines.executors.base import (
    Control,
    Outcome,
    Plan,
    PlanError,
    Probe,
    StageSpec,
    Workplace,
    Yielded,
    refuse_changed,
)
from pipelines.executors.verify.measure import measure
from pipelines.executors.verify.rule import Verdict
from pipelines.executors.verify.settings import Settings, release_name
from pipelines.performance.sentences import describe

PAUSE = 0.05


class VerifyExecutor:
    """Probes an environment through its router and passes, fails, or leaves it to a person.

    The attempt's folder holds the samples, `verdict.json` once there is one, and a lock that is held while
    somebody soaks.
    """

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace

    def plan(self, spec: StageSpec) -> Plan:
        settings, base = Settings.of(spec.with_), self._base_url(spec)
        release = _release(spec)
        if settings.budgets and not release:
            raise PlanError(
                f"Stage {spec.stage} has budgets, but no stage before it rolled out one release to {spec.environment}. "
                "Say which with `release`."
            )
        given = {key: value for key, value in spec.with_.items() if key != "_retry"}
        return Plan(
            summary=f"probe {', '.join(settings.paths)} on {spec.environment} for {settings.soak:g} s",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={a.name: a.digest for a in spec.artifacts.values() if a.kind == "release"},
            parameters={key: json.dumps(value, sort_keys=True, default=str) for key, value in given.items()},
            details={"address": base, "release": release, **_asked_of_customers(settings)},
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        folder = self.workplace.folder(key)
        try:
            with _alone(folder, control) as mine:
                if mine:
                    yield from self._soak(spec, folder, control)
                else:
                    yield Outcome("canceled", "canceled while another worker was measuring")
        except PlanError as error:
            yield Outcome("error", str(error))
        except OSError as error:
            yield Outcome("error", f"The samples cannot be kept: {error.strerror or error} ({folder}).")

    def probe(self, spec: StageSpec, key: str) -> Probe:
        folder = self.workplace.folder(key)
        if _read(folder):
            return Probe("done")
        if _held(folder):
            return Probe("running")
        begun = (folder / "samples.jsonl").exists()
        return Probe("never_started", "the soak goes on where it was cut off" if begun else "")

    def cancel(self, spec: StageSpec, key: str) -> None:
        folder = self.workplace.folder(key)
        (folder / "canceled").touch()
        while _held(folder):
            time.sleep(PAUSE)

    def _soak(self, spec: StageSpec, folder: Path, control: Control) -> Iterator[Yielded]:
        if kept := _read(folder):
            yield _outcome(Verdict(**kept["verdict"]), accepted=spec.resumes > kept["resumes"])
            return
        if not (folder / "samples.jsonl").exists() and (changed := refuse_changed(self, spec)):
            yield changed
            return
        settings = {**spec.with_, "baseline": self._baseline(spec)}
        measured = self.workplace.measured
        for event in measure(
            base_url=self._base_url(spec),
            release=_release(spec) or None,
            settings=settings,
            control=_Watch(folder, control),
            folder=folder,
            measured=measured(spec.environment) if measured and spec.environment else None,
        ):
            if not isinstance(event, Verdict):
                yield event
                continue
            _write(folder, {"verdict": asdict(event), "resumes": spec.resumes})
            yield _outcome(event, accepted=False)
            return
        yield Outcome("canceled", "canceled while measuring")

    def _base_url(self, spec: StageSpec) -> str:
        try:
            found = rollout.address(self.workplace.home, spec.environment or "", self.workplace.environment_ports)
        except ValueError as error:
            raise PlanError(str(error)) from None
        if not found:
            known = ", ".join(sorted(self.workplace.environment_ports)) or "none"
            raise PlanError(
                f"Stage {spec.stage} probes the environment {spec.environment!r}, which has no port here. "
                f"Known: {known}. Of one on clusters, connections.yaml says the `url`."
            )
        return found

    def _baseline(self, spec: StageSpec) -> str:
        """The release to compare with: as named, or with `compare: true` the environment's stable one."""
        compare = spec.with_.get("compare") or ""
        if compare is not True:
            return str(compare)
        try:
            stable = str(rollout.status(self.workplace.home, str(spec.environment)).get("release") or "")
        except (OSError, ValueError):
            return ""
        return "" if stable == _release(spec) else stable


def _asked_of_customers(settings: Settings) -> dict[str, Any]:
    """Left out without budgets, so that plans of before have the digests of before."""
    return {"budgets": [describe(budget) for budget in settings.budgets]} if settings.budgets else {}


def _release(spec: StageSpec) -> str:
    return str(spec.with_.get("release") or release_name(spec))


def _outcome(verdict: Verdict, *, accepted: bool) -> Outcome:
    data: Mapping[str, Any] = {"verdict": verdict.state, "numbers": verdict.numbers}
    if verdict.state == "pass":
        return Outcome("succeeded", verdict.reason, data)
    if verdict.state == "fail":
        return Outcome("failed", verdict.reason, data)
    if accepted:
        return Outcome("succeeded", f"Accepted by a person, although inconclusive: {verdict.reason}", data)
    return Outcome("paused", f"Inconclusive: {verdict.reason}", data)


class _Watch:
    """The worker's control, and what `cancel` in another process left behind."""

    def __init__(self, folder: Path, control: Control) -> None:
        self._canceled, self._control = folder / "canceled", control

    def stopping(self) -> bool:
        return self._control.stopping() or self._canceled.exists()

    def commands(self) -> tuple[str, ...]:
        return tuple(self._control.commands())


@contextmanager
def _alone(folder: Path, control: Control) -> Iterator[bool]:
    """Hold the attempt's lock, which the kernel opens when its holder dies. False when told to stop
    before."""
    with (folder / "lock").open("w") as lock:
        watch = _Watch(folder, control)
        while not _locked(lock.fileno(), fcntl.LOCK_EX):
            if watch.stopping():
                yield False
                return
            time.sleep(PAUSE)
        yield True


def _held(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as lock:
            return not _locked(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "verdict.json").read_text())
    except FileNotFoundError:
        return None


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    fresh = folder / "verdict.new"
    with fresh.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / "verdict.json")
