"""Setting pipelines up. Like every change, it asks the policy first and leaves an audit record."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import IntegrityError, transaction

from teams import audit
from teams.models import Team, User
from teams.policy import Action, Subject

from .models import Pipeline
from .runs.actions import judge
from .runs.errors import Conflict

FIELDS = ("name", "owner", "repository", "default_branch", "definition_path", "poll_seconds")


def create(*, user: User, slug: str, owner: str, **fields: Any) -> Pipeline:
    """A new pipeline, owned by a team that the person leads. Raises NotAllowed, Conflict."""
    target = f"pipeline:{slug}"
    judge(user, Action.MANAGE_PIPELINE, Subject(pipeline_owner=owner), target)
    try:
        with transaction.atomic():
            pipeline = Pipeline.objects.create(slug=slug, owner=owner, agreed=_may_speak_for(user), **fields)
            audit.write(actor=user.username, action="create-pipeline", target=target, repository=pipeline.repository)
    except IntegrityError:
        raise Conflict(f"There is a pipeline {slug} already; choose another name.") from None
    return pipeline


def _may_speak_for(user: User) -> list[str]:
    """The teams that this person brings along: those they lead; an administrator sets a pipeline up for all."""
    actor = user.as_actor()
    return [slug for slug in Team.objects.values_list("slug", flat=True) if actor.is_admin or actor.leads(slug)]


def change(*, pipeline: Pipeline, user: User, **fields: Any) -> Pipeline:
    """Change some of `FIELDS`. A new repository is looked at afresh. Raises NotAllowed."""
    target = f"pipeline:{pipeline.slug}"
    # What a pipeline's owner is given works with that team's secrets, so nobody gives it to a team but its own leads.
    for owner in dict.fromkeys((pipeline.owner, fields.get("owner", pipeline.owner))):
        judge(user, Action.MANAGE_PIPELINE, Subject(pipeline_owner=owner), target)
    with transaction.atomic():
        row = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        before = {name: getattr(row, name) for name in fields}
        changed = {name: value for name, value in fields.items() if value != before[name]}
        for name, value in changed.items():
            setattr(row, name, value)
        if "repository" in changed:
            row.heads, row.polled_at = {}, None
        row.save(update_fields=[*changed, "heads", "polled_at"])
        audit.write(
            actor=user.username, action="change-pipeline", target=target,
            before={name: before[name] for name in changed}, after=changed,
        )  # fmt: skip
    return row


def new_webhook_secret(*, pipeline: Pipeline, user: User) -> Pipeline:
    """Put another secret in the place of the webhook's; the old one counts no more. Raises NotAllowed."""
    target = f"pipeline:{pipeline.slug}"
    judge(user, Action.MANAGE_PIPELINE, Subject(pipeline_owner=pipeline.owner), target)
    with transaction.atomic():
        Pipeline.objects.filter(pk=pipeline.pk).update(webhook_secret=secrets.token_urlsafe(32))
        audit.write(actor=user.username, action="new-webhook-secret", target=target)
    pipeline.refresh_from_db(fields=["webhook_secret"])
    return pipeline
