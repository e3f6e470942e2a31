"""`rollout`: brings a release to an environment, step by step, and back if it does not hold."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from pipelines.executors.base import (
    Control,
    Log,
    Outcome,
    Plan,
    PlanError,
    Probe,
    StageSpec,
    Unattended,
    Workplace,
    Yielded,
    refuse_changed,
)
from pipelines.executors.rollout.drive import Driver
from pipelines.executors.rollout.grounds import find
from pipelines.executors.rollout.local.control import KeeperError
from pipelines.executors.rollout.measuring import Measure
from pipelines.executors.rollout.progress import Progress, cancel_file, driven, since_when_away, sole_driver
from pipelines.executors.rollout.target import AwayError, Ground, SupersededError
from pipelines.executors.secrets import SecretError
from pipelines.executors.store import StoreError

LOOK_EVERY = 0.1


def default_measure(workplace: Workplace) -> Measure:
    """The rule of the `verify` kind of stage."""

    def ask(*, environment: str, **given: Any) -> Iterator[Any]:
        from pipelines.executors.verify import measure

        measured = workplace.measured
        return measure(**given, measured=measured(environment) if measured else None)

    return ask


class RolloutExecutor:
    """`measure` judges a release during a `verify` step; see `measuring.Measure`."""

    def __init__(self, workplace: Workplace, measure: Measure | None = None) -> None:
        self.workplace = workplace
        self.measure = measure or default_measure(workplace)

    def plan(self, spec: StageSpec) -> Plan:
        return find(self.workplace, spec).plan()

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        folder = self.workplace.folder(key)
        while True:
            with sole_driver(folder) as alone:
                if alone:
                    yield from self._start(spec, key, control)
                    return
            if control.stopping():
                yield Outcome("canceled", "another worker drives this rollout")
                return
            time.sleep(LOOK_EVERY)

    def probe(self, spec: StageSpec, key: str) -> Probe:
        folder = self.workplace.home / "work" / key
        try:
            progress = find(self.workplace, spec).read(key)
        except AwayError as error:
            return Probe("away", str(error))
        except (ValueError, PlanError) as error:
            return Probe("unknown", str(error))
        if progress is None:
            return Probe("never_started")
        if progress.outcome is not None:
            return Probe("done", progress.outcome.reason)
        return Probe("running", "a worker drives it" if driven(folder) else "it waits for a worker to go on")

    def cancel(self, spec: StageSpec, key: str) -> None:
        """Back to the stable release; returns once it has all traffic again. Raises AwayError where the target does
        not answer; it goes back all the same once somebody drives it on."""
        if find(self.workplace, spec).read(key) is None:
            return
        cancel_file(self.workplace.folder(key)).touch()
        *_, outcome = self.start(spec, key, Unattended())
        if isinstance(outcome, Outcome) and outcome.state == "engine":
            raise AwayError(outcome.reason, outcome.data.get("retry_after"))

    # --- parts of start -------------------------------------------------------------------------------

    def _start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        try:
            ground = find(self.workplace, spec)
            progress = ground.read(key)
            if progress is None:
                refused = refuse_changed(self, spec)
                if refused:
                    yield refused
                    return
                # Who approved the plan has read in it that something holds.
                if spec.approved_digest is None and not spec.resumes and (held := ground.held()):
                    yield Outcome("paused", f"{held}; going on releases it")
                    return
                progress = ground.begin(key)
            if progress.over or (progress.paused and not self._may_go_on(progress, spec, key)):
                yield progress.outcome or Outcome("error")
                return
            # Again where a part was away and is back.
            while not (yield from self._drive(ground, spec, key, control, progress)):
                progress = ground.read(key) or progress
        except AwayError as error:
            since_when_away(self.workplace.folder(key))
            yield error.outcome(" Nothing is moved meanwhile.")
        except (PlanError, SupersededError) as error:
            yield Outcome("failed", str(error))
        except (KeeperError, StoreError, SecretError, OSError, ValueError) as error:
            yield Outcome("error", str(error))

    def _may_go_on(self, progress: Progress, spec: StageSpec, key: str) -> bool:
        return spec.resumes > progress.resumes or cancel_file(self.workplace.folder(key)).exists()

    def _drive(
        self, ground: Ground, spec: StageSpec, key: str, control: Control, progress: Progress
    ) -> Generator[Yielded, None, bool]:
        """Whether it has come to its end, or to a pause."""
        if progress.stable == progress.release.name and not progress.over:
            yield Log(f"{progress.release.name} has the same content and runs already\n")
        with ground.target(key, progress, control) as target:
            driver = Driver(
                rollout=ground.rollout(progress),
                target=target,
                progress=progress,
                remember=lambda now: ground.write(key, now),
                environment=ground.environment,
                folder=self.workplace.folder(key),
                control=control,
                resumes=spec.resumes,
                base_url=ground.base_url,
                stage=spec.stage,
                measure=partial(self.measure, environment=ground.environment),
            )
            try:
                yield from driver.run()
            except AwayError:
                # Its clock goes on from here, whoever goes on with the rollout.
                since_when_away(self.workplace.folder(key), driver.answered or None)
                raise
            return driver.progress.outcome is not None
