"""Doing one claimed attempt in this process: `engines.work`, with the database as its desk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from pipelines import runs, wake
from pipelines.engines import measurements, work, workplaces
from pipelines.engines.work import LeaseLost, NotNow, Wanted
from pipelines.executors import base
from pipelines.models import Attempt
from pipelines.outages import is_outage
from pipelines.runs.record import unknowable

from .claim import Claimed, Stay
from .spec import spec_of

log = logging.getLogger(__name__)

T = TypeVar("T")


def carry_out(claimed: Claimed, stay: Stay) -> Claimed | None:
    """Plan or do the stage. Whatever happens, it is reported, or the lease runs out and the sweeper takes over.

    Returns the next stage of the run, if one was claimed when the end of this one was recorded."""
    desk = Database(claimed, stay)
    with wake.working():
        work.carry_out(task_of(claimed), desk, workplaces.here(lambda name: measurements.of(name, persistently)))
    return desk.next


def task_of(claimed: Claimed) -> work.Task:
    return work.Task(
        key=claimed.key,
        number=claimed.number,
        planning=claimed.phase == Attempt.Phase.PLAN,
        probe=claimed.probe,
        started_at=claimed.started_at,
        stop=claimed.stage.stop_requested,
        commands=tuple(claimed.stage.commands),
    )


def persistently(report: Callable[[], T]) -> T:
    """Report, again and again while the database cannot take it: it may be locked, full or read-only for now. Raises
    LeaseLost."""
    delay = 0.2
    while True:
        try:
            return report()
        except runs.StaleResult as gone:
            raise LeaseLost(str(gone)) from None
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            log.warning("The database cannot be written, trying again in %.1f s: %s", delay, error)
            connections.close_all()
            time.sleep(delay)
            delay = min(5.0, delay * 2)


class Database:
    """`work.Desk`: writes each report down."""

    def __init__(self, claimed: Claimed, stay: Stay) -> None:
        self.claimed = claimed
        self.next: Claimed | None = None
        self._stay = stay
        self._mine = claimed.attempt, claimed.fence
        self.lease, self.heartbeat = settings.LEASE, settings.HEARTBEAT

    def spec(self) -> base.StageSpec:
        return persistently(lambda: spec_of(self.claimed))

    def given_up(self) -> Sequence[str]:
        return persistently(lambda: given_up(self.claimed.stage.pk))

    def wrote(self, text: str) -> None:
        persistently(lambda: runs.wrote(*self._mine, text, self._stay))

    def try_to_write(self, text: str) -> None:
        try:
            runs.wrote(*self._mine, text, self._stay)
        except runs.StaleResult as gone:
            raise LeaseLost(str(gone)) from None
        except (DatabaseError, InterfaceError) as error:
            raise NotNow(str(error)) from error

    def progressed(self, item: base.Progress) -> None:
        persistently(lambda: runs.progressed(*self._mine, item))

    def produced(self, artifact: base.Artifact) -> None:
        persistently(lambda: runs.produced(*self._mine, artifact))

    def planned(self, plan: base.Plan) -> None:
        persistently(lambda: runs.planned(*self._mine, plan))

    def outcome(self, result: base.Outcome) -> None:
        persistently(lambda: runs.outcome(*self._mine, result, self._stay))
        self.next = self._stay.committed()

    def unknowable(self, reason: str) -> None:
        persistently(lambda: unknowable(*self._mine, reason))

    def beat(self) -> None:
        now = timezone.now()
        kept = Attempt.objects.filter(pk=self.claimed.attempt, fence=self.claimed.fence, open=True).update(
            heartbeat_at=now, lease_until=now + timedelta(seconds=settings.LEASE)
        )
        if not kept:
            raise LeaseLost(f"The lease of {self.claimed.key} was lost; another worker goes on with it.")

    def wait_to_beat(self) -> None:
        persistently(self.beat)

    def look(self) -> Wanted:
        return wanted_of(*self._mine)

    def missed(self) -> None:
        connections.close_all()


def given_up(stage: int) -> list[str]:
    """The keys of a stage's attempts that nobody saw end."""
    return list(Attempt.objects.filter(stage=stage, open=False, data__given_up=True).values_list("key", flat=True))


def wanted_of(attempt: int, fence: int) -> Wanted:
    """What people want of a stage whose attempt is the caller's. Raises LeaseLost."""
    found = Attempt.objects.filter(pk=attempt, fence=fence, open=True)
    row = found.values("stage__stop_requested", "stage__commands").first()
    if row is None:
        raise LeaseLost("Another worker goes on with it.")
    return Wanted(bool(row["stage__stop_requested"]), tuple(row["stage__commands"]))
