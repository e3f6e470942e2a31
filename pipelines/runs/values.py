"""What a suspended Workflow asks whoever lets it go on: values that its template hands on as its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..models import Stage
from ..states import MIRRORED
from .errors import Conflict

DETAIL = "asks"  # in the details of a plan
LONGEST = 4_000  # characters of one value


@dataclass(frozen=True, slots=True)
class Asked:
    """One value. `default` is what holds where nobody says another one, None where there is no such; `choices` are all
    that it may be, () for anything."""

    name: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "choices": list(self.choices)}


def asked_values(stage: Stage) -> tuple[Asked, ...]:
    """What an approval of this stage has to say beside yes."""
    if stage.run.engine != MIRRORED:
        return ()
    found = ((stage.plan or {}).get("details") or {}).get(DETAIL) or ()
    return tuple(Asked(**{**one, "choices": tuple(one["choices"])}) for one in found)


def answered(stage: Stage, given: Mapping[str, str]) -> dict[str, str]:
    """A value for each that is asked for, the defaults included. Raises Conflict."""
    asked = asked_values(stage)
    if unknown := sorted(set(given) - {one.name for one in asked}):
        known = ", ".join(one.name for one in asked) or "no values"
        raise Conflict(f"{stage.name} does not ask for {', '.join(unknown)}; it asks for {known}.")
    return {one.name: _value(one, given.get(one.name, one.default)) for one in asked}


def _value(asked: Asked, value: str | None) -> str:
    if value is None:
        why = f": {asked.description}" if asked.description else ""
        raise Conflict(f"This gate asks for a value, {asked.name}{why}. Say it as you approve.")
    if asked.choices and value not in asked.choices:
        raise Conflict(f"{asked.name} has to be {' or '.join(asked.choices)}, found {value[:80]!r}.")
    if len(value) > LONGEST:
        raise Conflict(f"{asked.name} has {len(value):,} characters; a value may have {LONGEST:,}.")
    return value
