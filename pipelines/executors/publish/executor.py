"""The publish stage: plans, publishes, and says how it went."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.definition.credentials import concealed
from pipelines.executors.attempt import Attempt, WorkFailedError
from pipelines.executors.base import (
    Artifact,
    Change,
    Control,
    Outcome,
    Plan,
    PlanError,
    Probe,
    Produced,
    Progress,
    StageSpec,
    Workplace,
    Yielded,
)
from pipelines.executors.connections import ConnectionsError, load
from pipelines.executors.masks import Masker
from pipelines.executors.oci.client import RegistryClient
from pipelines.executors.oci.credentials import credential_of
from pipelines.executors.oci.errors import Credential, RegistryAway, RegistryError
from pipelines.executors.oci.transport import PATIENCE, Patience
from pipelines.executors.publish import release
from pipelines.executors.publish.engine import SILENCE, Door, EngineAway, EngineSaidNo, Stopped
from pipelines.executors.publish.push import Push, tag_of
from pipelines.executors.publish.wanted import Target, Wanted, wanted
from pipelines.executors.store import Store

STOPS_WITHIN = 20.0  # seconds that `cancel` waits for a worker to cut its push off


class _AwayError(Exception):
    """The engine or the registry is not there; the message becomes the reason of the Outcome."""


class PublishExecutor:
    """Produces one release, named after the stage; `release.py` says what its meta holds.

    `patience` and `silence` say how long to put up with a registry, see `Patience` and `Door.push`.
    """

    patience: Patience = PATIENCE
    silence: float = SILENCE

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        """Names what is published by its digest, and where images go. Asks neither engine nor registry."""
        found = wanted(spec)
        target = found.target
        if target and target.secrets:
            self._listed(spec, target)
        return Plan(
            summary=f"publish {len(found.artifacts)} {'images' if target else 'artifacts'} of commit "
            f"{spec.commit[:12]} as a release",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={each.name: each.digest for each in found.artifacts},
            parameters=concealed(spec.parameters),
            changes=[Change(target.name(each) if target else each.name, after=each.digest) for each in found.artifacts],
            details={"registry": target.registry, "secrets": dict(sorted(target.secrets.items()))} if target else {},
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        try:
            yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt))
        except _AwayError as away:
            # Not remembered as this attempt's end: it goes on with the same key.
            yield Outcome("engine", str(away))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=True)

    def cancel(self, spec: StageSpec, key: str) -> None:
        folder = self.workplace.folder(key)
        Attempt(folder).cancel()
        deadline = time.monotonic() + STOPS_WITHIN
        while time.monotonic() < deadline:
            with _alone(folder) as alone:
                if alone:
                    return
            time.sleep(0.05)

    def _work(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        found = wanted(spec)
        made = yield from self._images(spec, found, attempt) if found.target else self._slugs(spec, found, attempt)
        if made is None:
            yield Outcome("canceled", "canceled")
            return
        yield Produced(made)
        sort = "images" if found.target else "artifacts"
        yield Outcome("succeeded", f"published release {spec.run} of {len(found.artifacts)} {sort}")

    def _slugs(self, spec: StageSpec, found: Wanted, attempt: Attempt) -> Generator[Yielded, None, Artifact | None]:
        for number, slug in enumerate(found.artifacts):
            if attempt.stopping():
                return None
            yield Progress(f"verifying {slug.name}", done=number, total=len(found.artifacts))
            self.store.verify(slug.digest)
        return release.of_slugs(self.store, spec, found.artifacts)

    def _images(self, spec: StageSpec, found: Wanted, attempt: Attempt) -> Generator[Yielded, None, Artifact | None]:
        assert found.target is not None  # noqa: S101 - for the type checker
        if found.target.secrets:
            self._listed(spec, found.target)
        credential = credential_of(self.workplace.home, spec.owner, found.target.secrets)
        try:
            with self._only_one(attempt):
                names = yield from self._push_all(spec, found, credential, attempt)
        except Stopped:
            return None
        except (RegistryAway, EngineAway) as away:
            if attempt.stopping():
                return None
            raise _AwayError(str(away)) from None
        except (RegistryError, EngineSaidNo) as error:
            raise WorkFailedError(str(error)) from None
        return release.of_images(self.store, spec, found.artifacts, names)

    def _push_all(
        self, spec: StageSpec, found: Wanted, credential: Credential | None, attempt: Attempt
    ) -> Generator[Yielded, None, dict[str, str]]:
        target, known = found.target, load(self.workplace.home)
        assert target is not None  # noqa: S101 - for the type checker
        repositories = [target.of(image) for image in found.artifacts]
        names: dict[str, str] = {}
        told: list[dict[str, Any]] = []
        with (
            RegistryClient(
                known.registry(target.registry), credential, patience=self.patience, stopping=attempt.stopping
            ) as registry,
            Door(known.docker) as door,
        ):
            for image in found.artifacts:
                if attempt.stopping():
                    raise Stopped
                push = Push(
                    door, registry, target, image, tag_of(image, spec.commit), repositories, attempt.stopping,
                    self.patience, self.silence, before=told,
                )  # fmt: skip
                try:
                    names[image.name] = yield from push.run()
                    told = [*told, push.told()]
                except (RegistryError, EngineSaidNo) as error:
                    raise type(error)(Masker(registry.secrets()).mask(str(error))) from None
        return names

    def _listed(self, spec: StageSpec, target: Target) -> None:
        """A repository cannot have a credential sent to a host that the operators never heard of."""
        try:
            known = load(self.workplace.home).registries
        except ConnectionsError as error:
            raise PlanError(str(error)) from None
        if target.registry not in known:
            raise PlanError(
                f"Stage {spec.stage}: a credential is only sent to registries that connections.yaml lists, and "
                f"{target.registry} is none of {', '.join(sorted(known)) or '(none)'}. Add it there under "
                "`registries`, or take `secrets` out."
            )

    @contextmanager
    def _only_one(self, attempt: Attempt) -> Iterator[None]:
        """Hold the attempt's lock, so that `cancel` knows when nothing is pushed any more."""
        while True:
            with _alone(attempt.folder) as alone:
                if alone:
                    yield
                    return
            if attempt.stopping():
                raise Stopped
            time.sleep(0.05)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock of this attempt; it is ours within the block, then."""
    with (folder / "pushing").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
