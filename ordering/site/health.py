"""Whether this process can sell: its database answers and has every migration that this release knows."""

from __future__ import annotations

import logging
from functools import cache

from django.db import DatabaseError
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import JsonResponse

from ordering import conf

logger = logging.getLogger(__name__)


def answer() -> JsonResponse:
    """200 {"release", "database": "ok"}, or 503 with the reason under "database"."""
    reason = problem()
    body = {"release": conf.release(), "database": reason or "ok"}
    response = JsonResponse(body, status=503 if reason else 200)
    response["Cache-Control"] = "no-store"
    return response


def problem() -> str:
    """What is wrong, in words; "" when nothing is. One query."""
    try:
        applied = set(MigrationRecorder.Migration.objects.values_list("app", "name"))
    except DatabaseError as error:
        if "no such table" in str(error) or "does not exist" in str(error):
            return "no migration is applied; run migrate"
        # The message may name hosts and users, and everybody may ask for this page.
        logger.warning("The health check cannot read the database: %s", error)
        return f"does not answer ({type(error).__name__}); the server's log says more"
    if missing := sorted(_known() - applied):
        names = ", ".join(f"{app}.{name}" for app, name in missing[:5])
        return f"{len(missing)} migrations are not applied ({names}); run migrate"
    return ""


@cache
def _known() -> frozenset[tuple[str, str]]:
    """The migrations of this release. A later release may have applied more: old code works with those."""
    return frozenset(MigrationLoader(None).disk_migrations)
