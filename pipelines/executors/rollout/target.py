"""What the driver of rollouts asks of the place where releases run, whichever that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pipelines.executors.base import Control, EngineAwayError, Log, Plan
from pipelines.executors.rollout.progress import Progress
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.strategy import Desired, Observation, Rollout


class SupersededError(Exception):
    """Another rollout has the environment now."""


class AwayError(EngineAwayError):
    """What holds the environment does not answer: nothing can be seen or moved. The message says what was tried."""


class RefusedError(ValueError):
    """What holds the environment understood and said no (a quota, a right, a policy); the message says what it said."""


class NotPreparedError(Exception):
    """What has to be there before the first replica (a migration, say) said no; the message says what it said."""


class Target(Protocol):
    """An environment during one rollout. All but `close` raise AwayError where it does not answer, and RefusedError
    where it says no: what could be done without that is done then."""

    def prepare(self) -> Iterator[Log | None]:
        """What has to be done before the first replica, safe to repeat; None while it waits for something. Raises
        NotPreparedError."""

    def observe(self) -> Observation:
        """What is there now."""

    def apply(self, desired: Desired) -> None:
        """Move one step. Cheap when it is so already. Raises SupersededError."""

    def finish(self, desired: Desired, stable: str) -> None:
        """Leave this as the environment's state, with `stable` as the release to go back to ("" for none)."""

    def keep(self, release: Release) -> None:
        """Remember a release that was rolled out, so that it can be gone back to."""

    def fit(self, rollout: Rollout) -> Rollout:
        """The rollout with totals as they are now: an environment may get another machine meanwhile."""

    def why_not_ready(self, release: str) -> str:
        """What keeps replicas of a release from being ready, in words."""

    def news(self) -> Sequence[str]:
        """What there is to tell of replicas since the last call, line by line."""

    def missing(self) -> str:
        """Which part of the environment does not answer, in sentences, "" where all of it does. All else is about what
        answers."""

    def is_back(self) -> bool:
        """Whether what was missing answers again; it is to be had by asking the Ground for the target anew."""

    def wait(self, seconds: float) -> None:
        """Until something has changed, so long at most."""

    def tend(self) -> None:
        """See that whatever keeps the environment runs; asked now and then."""


class Ground(Protocol):
    """Where an environment is, on behalf of one stage. `base_url` is where its customers reach it, as far as this
    machine can; `environment` its name. All raise AwayError where it does not answer."""

    environment: str

    @property
    def base_url(self) -> str: ...

    def plan(self) -> Plan:
        """Raises PlanError."""

    def held(self) -> str:
        """Why nothing may be rolled out before a person says so, "" where it may: after a rollback."""

    def begin(self, key: str) -> Progress:
        """Check what can be checked, take the environment for the rollout `key`, remember where it all began.

        Raises PlanError, SupersededError, and what its parts raise: OSError, ValueError.
        """

    def read(self, key: str) -> Progress | None:
        """What `write` wrote last for this rollout. Raises ValueError for what cannot be read."""

    def write(self, key: str, progress: Progress) -> None: ...

    def rollout(self, progress: Progress) -> Rollout: ...

    def target(self, key: str, progress: Progress, control: Control) -> AbstractContextManager[Target]: ...
