"""The environments of this machine: the `local` target, as the driver of rollouts asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pipelines.executors.base import Control, Log, Plan, PlanError, StageSpec, Workplace
from pipelines.executors.rollout.local.control import base_url, ensure_keeper
from pipelines.executors.rollout.local.desired import read_desired
from pipelines.executors.rollout.local.place import Place
from pipelines.executors.rollout.local.target import LocalTarget, keep_release, take, why_not_ready
from pipelines.executors.rollout.plan import Intent, intend, make_plan
from pipelines.executors.rollout.progress import Progress, driven, read_progress, write_progress
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.settings import Settings, parse
from pipelines.executors.rollout.strategy import Rollout
from pipelines.executors.rollout.target import Target
from pipelines.executors.secrets import resolve
from pipelines.executors.store import Store


class ProcessTarget(LocalTarget):
    """LocalTarget, and what else the driver asks of a target."""

    def __init__(self, place: Place, key: str, release: Release, workplace: Workplace) -> None:
        super().__init__(place, key, release)
        self.workplace = workplace

    def prepare(self) -> Iterator[Log | None]:
        yield from ()

    def keep(self, release: Release) -> None:
        keep_release(self.place, release)

    def fit(self, rollout: Rollout) -> Rollout:
        return rollout

    def why_not_ready(self, release: str) -> str:
        return why_not_ready(self.place, release)

    def news(self) -> Sequence[str]:
        return ()

    def missing(self) -> str:
        return ""

    def is_back(self) -> bool:
        return True

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def tend(self) -> None:
        """The keeper may have been killed since the last look."""
        ensure_keeper(self.workplace.home, self.workplace.environment_ports)


class Machine:
    """A `target.Ground`. `spec` names the environment."""

    def __init__(self, workplace: Workplace, spec: StageSpec) -> None:
        if not spec.environment:
            raise PlanError(f"The stage {spec.stage} rolls out, so it needs an `environment`.")
        self.workplace, self.spec, self.environment = workplace, spec, spec.environment
        self.place = Place(workplace.home, spec.environment)
        self.settings: Settings = parse(spec)

    @property
    def base_url(self) -> str:
        return base_url(self.workplace.home, self.workplace.environment_ports[self.environment])

    def plan(self) -> Plan:
        return make_plan(self.spec, self._intent())

    def held(self) -> str:
        return ""

    def begin(self, key: str) -> Progress:
        """Raises also SecretError and StoreError, for what would make every replica fail."""
        self._check(self._intent())
        state = take(self.place, key, lambda other: driven(self.workplace.home / "work" / other))
        intent = intend(self.spec, self.settings, self.place, state)
        release = replace(intent.release, when=time.time())
        old = dict(state.sets.get(state.stable, {}))
        present = intent.present
        progress = Progress(release, present.name if present else None, old, resumes=self.spec.resumes)
        if present and not old:
            progress.old = present.replicas
        progress.position = replace(progress.position, entered=time.time())
        self.write(key, progress)
        return progress

    def read(self, key: str) -> Progress | None:
        return read_progress(self.workplace.home / "work" / key)

    def write(self, key: str, progress: Progress) -> None:
        write_progress(self.workplace.folder(key), progress)

    def rollout(self, progress: Progress) -> Rollout:
        return Rollout(
            release=progress.release.name,
            new=progress.release.replicas,
            stable=progress.stable,
            old=progress.old,
            steps=self.settings.steps,
            deadline=self.settings.deadline,
            dynamic_stable=self.settings.dynamic_stable,
        )

    @contextmanager
    def target(self, key: str, progress: Progress, control: Control) -> Iterator[Target]:
        yield ProcessTarget(self.place, key, progress.release, self.workplace)

    def _check(self, intent: Intent) -> None:
        store = Store(self.workplace.home)
        for service in intent.release.services.values():
            store.path(service.digest)
            for reference in service.secrets.values():
                resolve(self.workplace.home, service.team, reference)
        if self.environment not in self.workplace.environment_ports:
            raise PlanError(f"The environment {self.environment} has no port; set one in ENVIRONMENT_PORTS.")

    def _intent(self) -> Intent:
        return intend(self.spec, self.settings, self.place, read_desired(self.place))
