"""`rollout`: brings a release to an environment, step by step, and back if it does not hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

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
from pipelines.executors.rollout.drive import Driver, Measure
from pipelines.executors.rollout.local.control import KeeperError, base_url, ensure_keeper
from pipelines.executors.rollout.local.desired import read_desired
from pipelines.executors.rollout.local.place import Place
from pipelines.executors.rollout.local.target import LocalTarget, SupersededError, take
from pipelines.executors.rollout.plan import Intent, intend, make_plan
from pipelines.executors.rollout.progress import (
    Progress,
    cancel_file,
    driven,
    progress_file,
    read_progress,
    sole_driver,
    write_progress,
)
from pipelines.executors.rollout.settings import Settings, parse
from pipelines.executors.rollout.strategy import Rollout
from pipelines.executors.secrets import SecretError, resolve
from pipelines.executors.store import Store, StoreError

LOOK_EVERY = 0.1


class RolloutExecutor:
    """`measure` judges a release during a `verify` step; see `drive.Measure`."""

    def __init__(self, workplace: Workplace, measure: Measure | None = None) -> None:
        self.workplace = workplace
        self.measure = measure

    def plan(self, spec: StageSpec) -> Plan:
        return make_plan(spec, self._intent(spec, parse(spec)))

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
            progress = read_progress(folder)
        except ValueError as error:
            return Probe("unknown", str(error))
        if progress is None:
            return Probe("never_started")
        if progress.outcome is not None:
            return Probe("done", progress.outcome.reason)
        return Probe("running", "a worker drives it" if driven(folder) else "it waits for a worker to go on")

    def cancel(self, spec: StageSpec, key: str) -> None:
        """Back to the stable release; returns once it has all traffic again."""
        folder = self.workplace.home / "work" / key
        if not progress_file(folder).exists():
            return
        cancel_file(folder).touch()
        for _ in self.start(spec, key, Unattended()):
            pass

    # --- parts of start -------------------------------------------------------------------------------

    def _start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        folder = self.workplace.folder(key)
        try:
            progress = read_progress(folder)
            if progress is None:
                refused = refuse_changed(self, spec)
                if refused:
                    yield refused
                    return
                progress = self._begin(spec, key)
            if progress.over or (progress.paused and not self._may_go_on(progress, spec, key)):
                yield progress.outcome or Outcome("error")
                return
            yield from self._drive(spec, key, control, progress)
        except (PlanError, SupersededError) as error:
            yield Outcome("failed", str(error))
        except (KeeperError, StoreError, SecretError, OSError, ValueError) as error:
            yield Outcome("error", str(error))

    def _may_go_on(self, progress: Progress, spec: StageSpec, key: str) -> bool:
        return spec.resumes > progress.resumes or cancel_file(self.workplace.folder(key)).exists()

    def _begin(self, spec: StageSpec, key: str) -> Progress:
        """Check what can be checked, take the environment, and remember where it all began."""
        place = self._place(spec)
        settings = parse(spec)
        intent = self._intent(spec, settings)
        self._check(spec, intent)
        state = take(place, key, lambda other: driven(self.workplace.home / "work" / other))
        intent = intend(spec, settings, place, state)
        release = replace(intent.release, when=time.time())
        old = dict(state.sets.get(state.stable, {}))
        present = intent.present
        progress = Progress(release, present.name if present else None, old, resumes=spec.resumes)
        if present and not old:
            progress.old = present.replicas
        progress.position = replace(progress.position, entered=time.time())
        write_progress(self.workplace.folder(key), progress)
        return progress

    def _check(self, spec: StageSpec, intent: Intent) -> None:
        """What would make every replica fail: missing slugs and secrets. Raises StoreError or SecretError."""
        store = Store(self.workplace.home)
        for service in intent.release.services.values():
            store.path(service.digest)
            for reference in service.secrets.values():
                resolve(self.workplace.home, service.team, reference)
        if spec.environment not in self.workplace.environment_ports:
            raise PlanError(f"The environment {spec.environment} has no port; set one in ENVIRONMENT_PORTS.")

    def _drive(self, spec: StageSpec, key: str, control: Control, progress: Progress) -> Iterator[Yielded]:
        settings = parse(spec)
        place = self._place(spec)
        if progress.stable == progress.release.name and not progress.over:
            yield Log(f"{progress.release.name} has the same content and runs already\n")
        rollout = Rollout(
            release=progress.release.name,
            new=progress.release.replicas,
            stable=progress.stable,
            old=progress.old,
            steps=settings.steps,
            deadline=settings.deadline,
            dynamic_stable=settings.dynamic_stable,
        )
        target = LocalTarget(place, key, progress.release)
        port = self.workplace.environment_ports[place.name]
        driver = Driver(
            rollout=rollout,
            target=target,
            progress=progress,
            folder=self.workplace.folder(key),
            control=control,
            resumes=spec.resumes,
            base_url=base_url(self.workplace.home, port),
            stage=spec.stage,
            tend=lambda: ensure_keeper(self.workplace.home, self.workplace.environment_ports),
            measure=self.measure,
        )
        yield from driver.run()

    def _place(self, spec: StageSpec) -> Place:
        if not spec.environment:
            raise PlanError(f"The stage {spec.stage} rolls out, so it needs an `environment`.")
        return Place(self.workplace.home, spec.environment)

    def _intent(self, spec: StageSpec, settings: Settings) -> Intent:
        place = self._place(spec)
        return intend(spec, settings, place, read_desired(place))
