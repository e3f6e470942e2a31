"""Which changes of a pipeline file need whose approval before they count. Pure.

Who owns a thing now decides: taking a stage from its owner, opening its gate, or moving it in the order is
for that owner to allow, and never for whoever wrote the new file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from pipelines.definition.kinds import secrets_of
from pipelines.definition.model import Definition, EnvironmentDef, Gate, Parameter, Retry, StageDef

OWNERSHIP_STAGE = "ownership-change"  # the stage in which those are asked; no file may name one of its own so

# What decides whether a gate is asked at all, and who is.
_OF_A_GATE = frozenset({"gate", "kind", "environment", "when", "on_exit", "matrix"})
_GUARDED = ("owner", "kind", "environment", "gate", "depends", "when", "on_exit")


@dataclass(frozen=True, slots=True, order=True)
class GuardedChange:
    """`team` has to approve that `field` of `stage` goes from `before` to `after`, both in words and "" for
    nothing.

    `stage` is the name in the file, of a matrix stage too; it is "environment NAME" where an environment
    changes, "pipeline" where it is the file's own. `field` is "stage" where the stage as a whole comes or goes.
    """

    stage: str
    field: str
    before: str
    after: str
    team: str


def guarded_changes(
    old: Definition | None, new: Definition, environments: Mapping[str, str] | None = None, *, keeper: str | None = None
) -> tuple[GuardedChange, ...]:
    """The changes from the file that counts so far to the new one that need a team's approval, sorted.

    `environments` maps environments that exist outside of this file to their owners; those of `old` win over
    them. `keeper` is the team that owns the pipeline: what its own stages do changes without a word, as it is its
    repository, unless they work with secrets or on an environment. None: so it is with every team's.
    """
    owners = {one.name: one.owner for one in _given_environments(old, new, keeper)} | dict(environments or {})
    owners |= {environment.name: environment.owner for environment in (old.environments if old else ())}
    before, after = _by_group(old), _by_group(new)
    found: set[GuardedChange] = set()
    for name in before.keys() | after.keys():
        if name not in after:
            found |= _removed(name, before[name], owners)
        elif name not in before:
            found |= _added(name, after[name], owners, keeper if old else None)
            found |= _borrowed(name, after[name]) if old else set()
        else:
            found |= _changed(name, before[name], after[name], owners, keeper)
    found |= _parameter_changes(old, new, before, owners, keeper)
    found |= _gates_passed(before, after)
    if old and old.engine != new.engine:
        # It decides where the stages of all of them run, and with which rights.
        teams = {stage.owner for stage in old.stages}
        found |= {GuardedChange("pipeline", "engine", old.engine, new.engine, team) for team in teams}
    found |= {
        GuardedChange(f"environment {one.name}", "owner", "", one.owner, one.owner)
        for one in _given_environments(old, new, keeper)
        if one.name not in (environments or {})
    }
    return tuple(sorted(found | _environment_changes(old, new, environments or {})))


def _given_environments(old: Definition | None, new: Definition, keeper: str | None) -> list[EnvironmentDef]:
    """Those that are new and another team's than the pipeline's own: that team agrees to have them."""
    known = {environment.name for environment in (old.environments if old else ())}
    return [one for one in new.environments if old and one.name not in known and keeper not in (None, one.owner)]


def _by_group(definition: Definition | None) -> dict[str, list[StageDef]]:
    groups: dict[str, list[StageDef]] = {}
    for stage in definition.stages if definition else ():
        groups.setdefault(stage.group or stage.name, []).append(stage)
    return groups


def first_changes(new: Definition, teams: Collection[str]) -> tuple[GuardedChange, ...]:
    """What a file that is the first to count gives to each of these teams, for them to agree to; for a team that is
    given nothing, the names of all stages."""
    found: set[GuardedChange] = set()
    for name, stages in _by_group(new).items():
        found |= {GuardedChange(name, "stage", "", _described(stages), team) for team in {stages[0].owner} & set(teams)}
    for environment in new.environments:
        if environment.owner in teams:
            found.add(
                GuardedChange(f"environment {environment.name}", "owner", "", environment.owner, environment.owner)
            )
    idle = set(teams) - {change.team for change in found}
    names = ", ".join(_by_group(new))
    return tuple(sorted(found | {GuardedChange("pipeline", "stages", "", names, team) for team in idle}))


def _removed(name: str, stages: Sequence[StageDef], owners: Mapping[str, str]) -> set[GuardedChange]:
    """Its owner loses it, the teams of its gate what they decide, the owner of its environment what is done there."""
    teams = {stages[0].owner} | _gate_teams(stages) | _environment_owners(stages, owners)
    return {GuardedChange(name, "stage", _summary(stages), "", team) for team in teams}


def _gate_teams(stages: Sequence[StageDef]) -> set[str]:
    return {team.team for stage in stages if stage.gate for team in stage.gate.teams}


def _gates_passed(
    before: Mapping[str, Sequence[StageDef]], after: Mapping[str, Sequence[StageDef]]
) -> set[GuardedChange]:
    """Where a stage comes no longer behind a gate, or may come past it, the gate's teams lose what they decide."""
    gates = [name for name, stages in before.items() if _gate_teams(stages)]
    stood, stands = _gates_before(before, gates), _gates_before(after, gates)
    found = set()
    for name in before.keys() & after.keys():
        was, becomes = _field(before[name], "depends"), _field(after[name], "depends")
        if was == becomes:
            continue
        plain = all(stage.depends == " && ".join(stage.needs) for stage in after[name])
        lost = stood[name] & ~stands[name] if plain else stood[name]
        teams = {team for bit, gate in enumerate(gates) if lost >> bit & 1 for team in _gate_teams(before[gate])}
        found |= {GuardedChange(name, "depends", was, becomes, team) for team in teams}
    return found


def _gates_before(groups: Mapping[str, Sequence[StageDef]], gates: Sequence[str]) -> dict[str, int]:
    """For each stage the gates that it comes behind, directly or through others: a bit for each of `gates`."""
    bits = {gate: 1 << number for number, gate in enumerate(gates)}
    needs = {
        name: {need for stage in stages for need in stage.needs if need in groups} for name, stages in groups.items()
    }
    found: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        found[name] = 0
        for need in needs[name]:
            found[name] |= found[need] | (bits.get(need, 0) if _gate_teams(groups[need]) else 0)
    return found


def _described(stages: Sequence[StageDef]) -> str:
    """A stage that is new to whoever is asked: what it is and what it does, in words."""
    _, does = _rewritten((), stages)
    return f"{_summary(stages)}; {does}" if does else _summary(stages)


def _added(name: str, stages: Sequence[StageDef], owners: Mapping[str, str], keeper: str | None) -> set[GuardedChange]:
    """A new stage asks who owns its environment, and whoever it works in the name of."""
    asked = _environment_owners(stages, owners) | (
        {stages[0].owner} if keeper not in (None, stages[0].owner) else set()
    )
    return {GuardedChange(name, "stage", "", _described(stages), team) for team in asked}


def _borrowed(name: str, stages: Sequence[StageDef]) -> set[GuardedChange]:
    """A stage gets its owner's secrets, so nobody may write a new one in another team's name that uses
    them."""
    if not any(secrets_of(stage.with_) for stage in stages):
        return set()
    return {GuardedChange(name, "secrets", "", f"{_secrets(stages)}, by {_described(stages)}", stages[0].owner)}


def _changed(
    name: str, before: Sequence[StageDef], after: Sequence[StageDef], owners: Mapping[str, str], keeper: str | None
) -> set[GuardedChange]:
    owner = before[0].owner
    found = {
        GuardedChange(name, field, was, becomes, owner)
        for field in _GUARDED
        if (was := _field(before, field)) != (becomes := _field(after, field))
    }
    if (given := after[0].owner) != owner:
        found |= _borrowed(name, after)
        # Whoever it works in the name of from now on agrees to it too.
        found |= {GuardedChange(name, "owner", owner, given, given)} if keeper not in (None, given) else set()
    old_names, new_names = [stage.name for stage in before], [stage.name for stage in after]
    if set(old_names) != set(new_names):
        found.add(GuardedChange(name, "matrix", ", ".join(old_names), ", ".join(new_names), owner))
    if any(_is_held(stage, keeper) for stage in (*before, *after)):
        found.update(_done_otherwise(name, before, after, owner))
    # What is done in an environment is also for its owner to allow, and a gate is its teams' own.
    places, asked = _environment_owners([*before, *after], owners), _gate_teams(before)
    for change in list(found):
        teams = places | (asked if change.field in _OF_A_GATE else set())
        found |= {replace(change, team=team) for team in teams}
    return found


def _is_held(stage: StageDef, keeper: str | None) -> bool:
    """Whether a stage does what its owner agreed to: one that works with secrets or on an environment, or judges one;
    and each in a pipeline that another team keeps."""
    return bool(stage.environment or secrets_of(stage.with_)) or keeper not in (None, stage.owner)


def _done_otherwise(
    name: str, before: Sequence[StageDef], after: Sequence[StageDef], owner: str
) -> Iterator[GuardedChange]:
    if [stage.with_ for stage in before] != [stage.with_ for stage in after]:
        yield GuardedChange(name, "with", *_rewritten(before, after), owner)
    for field in ("retry", "timeout"):
        if (was := _field(before, field)) != (becomes := _field(after, field)):
            yield GuardedChange(name, field, was, becomes, owner)


def _rewritten(before: Sequence[StageDef], after: Sequence[StageDef]) -> tuple[str, str]:
    """What differs between two `with` mappings, key by key, in words."""
    was = {f"{stage.name}.{key}": value for stage in before for key, value in stage.with_.items()}
    now = {f"{stage.name}.{key}": value for stage in after for key, value in stage.with_.items()}
    keys = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    short = max(len(before), len(after)) == 1

    def words(values: Mapping[str, Any]) -> str:
        found = (
            f"{key.partition('.')[2] if short else key}: {json.dumps(values[key], sort_keys=True)}"
            for key in keys
            if key in values
        )
        return "; ".join(found)

    return words(was), words(now)


def _parameter_changes(
    old: Definition | None,
    new: Definition,
    stages: Mapping[str, Sequence[StageDef]],
    owners: Mapping[str, str],
    keeper: str | None,
) -> set[GuardedChange]:
    """A parameter that decides whether or where a stage runs, or what one that is held does, is as good as that
    stage's own; one that decides where concerns the owners of all environments that it may be."""
    was = {parameter.name: parameter for parameter in (old.parameters if old else ())}
    now = {parameter.name: parameter for parameter in new.parameters}
    found = set()
    for name in was.keys() | now.keys():
        before, after = _parameter(was.get(name)), _parameter(now.get(name))
        if before == after:
            continue
        place = re.compile(rf"\bparameters\.{re.escape(name)}(?![A-Za-z0-9_-])")
        for stage_name, group in stages.items():
            used = (f"{stage.when} {_agreed(stage, keeper)}" for stage in group)
            placed = any(place.search(stage.environment or "") for stage in group)
            asked: set[str] = set()
            if placed or any(place.search(text) for text in used):
                asked = {group[0].owner} | _environment_owners(group, owners) | _gate_teams(group)
            found |= {GuardedChange(stage_name, f"parameter {name}", before, after, team) for team in asked}
    return found


def _agreed(stage: StageDef, keeper: str | None) -> str:
    """What a stage's owner has agreed to of its `with`, as text: all of it, where it is held."""
    return json.dumps(stage.with_) if _is_held(stage, keeper) else ""


def _parameter(parameter: Parameter | None) -> str:
    """What counts of a parameter, in words; not its description."""
    if parameter is None:
        return ""
    choices = f", one of {', '.join(parameter.choices)}" if parameter.choices else ""
    return f"{'required' if parameter.required else f'default {parameter.default!r}'}{choices}"


def _environment_owners(stages: Sequence[StageDef], owners: Mapping[str, str]) -> set[str]:
    """The owners of all environments that these stages work on, or may: one with a placeholder may be any."""
    found: set[str] = set()
    for stage in stages:
        name = stage.environment or ""
        if "{{" in name:
            found |= set(owners.values())
        elif name in owners:
            found.add(owners[name])
    return found


def _environment_changes(
    old: Definition | None, new: Definition, environments: Mapping[str, str]
) -> set[GuardedChange]:
    before = {environment.name: environment for environment in (old.environments if old else ())}
    after = {environment.name: environment for environment in new.environments}
    found = set()
    for name, was in before.items():
        place = f"environment {name}"
        if name not in after:
            found.add(GuardedChange(place, "environment", f"owner {was.owner}", "", was.owner))
            continue
        for field in ("owner", "concurrency", "freeze"):
            values = _environment_field(was, field), _environment_field(after[name], field)
            if values[0] != values[1]:
                found.add(GuardedChange(place, field, *values, was.owner))
    for name, owner in environments.items():
        if name in after and name not in before and after[name].owner != owner:
            found.add(GuardedChange(f"environment {name}", "owner", owner, after[name].owner, owner))
    return found


def _environment_field(environment: EnvironmentDef, field: str) -> str:
    if field != "freeze":
        return str(getattr(environment, field))
    return "; ".join(
        f"{freeze.reason}: {freeze.start} to {freeze.end}"
        if freeze.start
        else f"{freeze.reason}: {freeze.cron} ({freeze.timezone}) for {freeze.duration:g} s"
        for freeze in environment.freeze
    )


def _summary(stages: Sequence[StageDef]) -> str:
    parts = [f"{_field(stages, 'kind')} of {_field(stages, 'owner')}"]
    if _field(stages, "environment"):
        parts.append(f"in {_field(stages, 'environment')}")
    if _field(stages, "gate"):
        parts.append(f"approved by {_field(stages, 'gate')}")
    return ", ".join(parts) + (" (on exit)" if stages[0].on_exit else "")


def _secrets(stages: Sequence[StageDef]) -> str:
    names = sorted({name for stage in stages for name in secrets_of(stage.with_)})
    return "secrets " + ", ".join(names) if names else "no secrets"


def _field(stages: Sequence[StageDef], field: str) -> str:
    """One field in words; where the combinations of a matrix differ in it, each with its own."""
    values = {stage.name: _words(getattr(stage, field)) for stage in stages}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{name}: {value}" for name, value in values.items())


def _words(value: Any) -> str:
    if isinstance(value, Gate):
        parts = [f"{team.team} ({team.quorum})" for team in sorted(value.teams, key=lambda team: team.team)]
        parts += ["self-approval allowed"] if value.self_approval else []
        parts += ["reason required"] if value.reason_required else []
        parts += [f"expires after {value.expires:g} s"] if value.expires else []
        return ", ".join(parts)
    if isinstance(value, Retry):
        if not value.limit:
            return "never"
        often = f"{value.limit} times, if {' or '.join(sorted(value.on))}"
        return f"{often}, after {value.backoff:g} s, then {value.factor:g} times that, at most {value.maximum:g} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g} s"
    return str(value or "")
