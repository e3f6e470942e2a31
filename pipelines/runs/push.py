"""A push as it came in, kept until a worker has fetched its commit and started its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction
from django.db.models import Q

from teams.models import User

from .. import wake
from ..models import Delivery, Pipeline, Run

PUSHED_BY = ", pushed by "  # in `Push.author`, between what a commit says and what the provider knows


@dataclass(frozen=True, slots=True)
class Push:
    """What is to be run. `ref` is a full name ("refs/heads/main"), `commit` 40 hex digits; `author` is
    "Name <address>" where it is known, with PUSHED_BY and the pusher where that is somebody else."""

    ref: str
    commit: str
    subject: str = ""
    author: str = ""
    trigger: str = "push"
    parameters: Mapping[str, str] = field(default_factory=dict)
    requested_by: User | None = None
    rerun_of: Run | None = None


def receive(
    pipeline: Pipeline, push: Push, *, provider: str, delivery: str, fingerprint: str = ""
) -> tuple[Delivery, bool]:
    """Keep a push for the workers. The same delivery id again gives the same row, and False; so does the same
    `fingerprint` (of what a provider signed) under another id."""
    try:
        with transaction.atomic():
            row = Delivery.objects.create(
                pipeline=pipeline,
                provider=provider,
                delivery=delivery[:200],
                fingerprint=fingerprint,
                ref=push.ref,
                commit=push.commit,
                subject=push.subject,
                author=push.author,
                trigger=push.trigger,
                parameters=dict(push.parameters),
                requested_by=push.requested_by,
                rerun_of=push.rerun_of,
            )
            wake.workers(1)
            return row, True
    except IntegrityError:
        same = Q(delivery=delivery[:200]) | (Q(fingerprint=fingerprint) if fingerprint else Q())
        return Delivery.objects.filter(same, pipeline=pipeline).order_by("id")[0], False


def as_push(row: Delivery) -> Push:
    return Push(
        ref=row.ref,
        commit=row.commit,
        subject=row.subject,
        author=row.author,
        trigger=row.trigger,
        parameters=row.parameters,
        requested_by=row.requested_by,
        rerun_of=row.rerun_of,
    )
