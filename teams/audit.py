"""The one place that writes the audit trail."""

from __future__ import annotations

from typing import Any

from .models import AuditEntry


def write(*, actor: str, action: str, target: str, allowed: bool = True, reason: str = "", **data: Any) -> AuditEntry:
    """Add an entry. `target` is `kind:name` ("stage:demo/12/deploy"); `data` must be JSON and hold no secret. An actor
    may be whoever a commit names, at any length."""
    return AuditEntry.objects.create(
        actor=actor[:150], action=action, target=target[:200], allowed=allowed, reason=reason, data=data
    )
