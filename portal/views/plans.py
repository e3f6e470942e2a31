"""A plan as people read it, and what is different in it since they read it last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core import signing

_SALT = "portal.plan-as-seen"
_SHOWN = 120  # characters of a value that is only compared


@dataclass(frozen=True, slots=True)
class Difference:
    title: str
    before: str
    after: str


def seen(plan: Mapping[str, Any] | None) -> str:
    """What a form carries of the plan above it, so that a newer plan can be compared with it."""
    return signing.dumps(_outline(plan or {}), salt=_SALT, compress=True)


def differences(token: str, plan: Mapping[str, Any] | None) -> list[Difference]:
    """What is different in `plan` compared with the one that `token` was made of; nothing for a bad token."""
    try:
        old: dict[str, str] = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        return []
    new = _outline(plan or {})
    return [
        Difference(title, _shown(old.get(title, "")), _shown(new.get(title, "")))
        for title in dict.fromkeys([*old, *new])
        if old.get(title, "") != new.get(title, "")
    ]


def _outline(plan: Mapping[str, Any]) -> dict[str, str]:
    """Every fact of a plan under its title. A diff stands for itself by its size and a hash."""
    facts = {key: str(plan.get(key) or "") for key in ("summary", "commit", "environment")}
    facts |= {f"artifact {name}": digest for name, digest in (plan.get("artifacts") or {}).items()}
    facts |= {f"parameter {name}": value for name, value in (plan.get("parameters") or {}).items()}
    for change in plan.get("changes") or ():
        facts[change["title"]] = " → ".join(filter(None, (change["before"], change["after"], _diff(change["diff"]))))
    facts |= {f"detail {name}": str(value) for name, value in (plan.get("details") or {}).items()}
    return {title: value[: 4 * _SHOWN] for title, value in facts.items()}


def _diff(text: str) -> str:
    if not text:
        return ""
    return f"{text.count(chr(10))} lines of difference ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
