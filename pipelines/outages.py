"""Which errors of the database mean that it cannot be used for now, whatever was asked of it."""

from __future__ import annotations

from django.db import InterfaceError, InternalError, OperationalError

# PostgreSQL's code for a write to a database that only reads; Django knows it as an internal error, which most others
# of that class are.
READ_ONLY = "25006"


def is_outage(error: BaseException) -> bool:
    """True for a database that is away, locked, full or read-only: the same request may succeed later."""
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return isinstance(error, InternalError) and getattr(error.__cause__, "sqlstate", None) == READ_ONLY
