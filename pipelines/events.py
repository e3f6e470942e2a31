"""What happened, numbered within its run: the one writer of the event table, and the shapes of its payloads.

Whoever changes a stage appends an event in the same transaction. So a run whose last number is the same is the same,
which workers and pages rely on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from django.db.models import F
from django.utils import timezone

from . import doorbell
from .models import Event, Run


@dataclass(frozen=True, slots=True)
class RunChanged:
    kind: ClassVar[str] = "run"
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StageChanged:
    kind: ClassVar[str] = "stage"
    state: str
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LogWritten:
    """`text` holds whole lines where it can."""

    kind: ClassVar[str] = "log"
    text: str


@dataclass(frozen=True, slots=True)
class ProgressMade:
    kind: ClassVar[str] = "progress"
    text: str
    done: int | None = None
    total: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanMade:
    kind: ClassVar[str] = "plan"
    digest: str
    summary: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A person's decision: approve, reject, retry, skip, steer, cancel, terminate, override-freeze, roll-back."""

    kind: ClassVar[str] = "decision"
    action: str
    actor: str
    team: str = ""
    reason: str = ""
    digest: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArtifactMade:
    kind: ClassVar[str] = "artifact"
    name: str
    type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that nobody of the portal did, and that people have to know of."""

    kind: ClassVar[str] = "notice"
    what: str
    text: str


Payload = Noticed | RunChanged | StageChanged | LogWritten | ProgressMade | PlanMade | Decided | ArtifactMade


@dataclass(frozen=True, slots=True)
class New:
    """An event that is about to be appended. `stage` is a primary key, `attempt` the attempt's number."""

    payload: Payload
    stage: int | None = None
    attempt: int | None = None


def append(run: int, items: Iterable[New]) -> None:
    """Number and store events. Must run in a transaction: the numbers are taken under the run's row lock."""
    new = list(items)
    if not new:
        return
    Run.objects.filter(pk=run).update(last_seq=F("last_seq") + len(new))
    last = Run.objects.values_list("last_seq", flat=True).get(pk=run)
    _store(run, last - len(new), new)


def append_locked(run: Run, items: Iterable[New], **fields: Any) -> None:
    """As `append`, for a run whose row the caller has locked and read. `fields` of the run are changed with it, in the
    same statement."""
    new = list(items)
    if new or fields:
        first = run.last_seq
        run.last_seq += len(new)
        Run.objects.filter(pk=run.pk).update(last_seq=run.last_seq, **fields)
    if new:
        _store(run.pk, first, new)


def _store(run: int, before: int, new: list[New]) -> None:
    now = timezone.now()
    Event.objects.bulk_create(
        Event(
            run_id=run,
            seq=before + i,
            kind=item.payload.kind,
            stage_id=item.stage,
            attempt=item.attempt,
            data=asdict(item.payload),
            at=now,
        )
        for i, item in enumerate(new, start=1)
    )
    doorbell.ring_on_commit(doorbell.EVENTS)
