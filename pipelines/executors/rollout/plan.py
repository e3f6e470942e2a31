"""What a rollout would change, as people approve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.definition.credentials import concealed
from pipelines.executors.base import Change, Plan, PlanError, StageSpec
from pipelines.executors.rollout import strategy
from pipelines.executors.rollout.local.desired import DesiredState
from pipelines.executors.rollout.local.place import Place
from pipelines.executors.rollout.local.target import kept_release
from pipelines.executors.rollout.release import Release, Service
from pipelines.executors.rollout.settings import Settings


@dataclass(frozen=True, slots=True)
class Intent:
    """The release to bring, and the one that is there (None in a new environment). They have one name where
    what shall run is what runs."""

    release: Release
    present: Release | None
    settings: Settings

    @property
    def same(self) -> bool:
        return self.present is not None and self.present.name == self.release.name


def intend(spec: StageSpec, settings: Settings, place: Place, state: DesiredState) -> Intent:
    """Raises PlanError when the release to go back to is not kept any more."""
    present = state.releases.get(state.stable)
    if settings.release:
        release = kept_release(place, settings.release)
        if release is None:
            raise PlanError(
                f"The release {settings.release} of {place.name} is not kept (any more). Choose one of those "
                "that the environment's page offers, or run its commit again."
            )
        return Intent(release, present, settings)
    name = f"{spec.pipeline}-{spec.run}-{spec.commit[:7]}"
    release = Release(name, settings.services, spec.commit, spec.run, spec.pipeline, settings.errors)
    if present is not None and present.content == release.content:
        # The same content under another name would restart everything for nothing.
        same = Release(present.name, settings.services, present.commit, present.run, present.pipeline, present.errors)
        return Intent(same, present, settings)
    known = kept_release(place, name) or state.releases.get(name)
    if known is not None and known.content != release.content:
        named = f"{name}-{release.content[:6]}"
        release = Release(named, settings.services, spec.commit, spec.run, spec.pipeline, settings.errors)
    return Intent(release, present, settings)


def make_plan(spec: StageSpec, intent: Intent) -> Plan:
    release, present = intent.release, intent.present
    changes = [Change("release", present.name if present else "", release.name)]
    names = sorted({*release.services, *(present.services if present else {})})
    for name in names:
        before = present.services.get(name) if present else None
        changes += _service_changes(name, before, release.services.get(name))
    unchanged = present is not None and present.name == release.name and not any(c.before != c.after for c in changes)
    count = len(release.services)
    verb = "roll back to" if intent.settings.release else "roll out"
    what = release.name if intent.settings.release else f"{count} service{'s' if count != 1 else ''}"
    to = "in" if intent.settings.release else "to"
    return Plan(
        summary=f"leave {spec.environment} at {release.name}, which runs there already"
        if unchanged
        else f"{verb} {what} {to} {spec.environment}",
        commit=release.commit or spec.commit,
        kind=spec.kind,
        stage=spec.stage,
        environment=spec.environment,
        artifacts={service.artifact: service.digest for service in release.services.values()},
        parameters=concealed(spec.parameters),
        changes=[change for change in changes if change.before != change.after],
        details={
            "present": present.name if present else None,
            "release": release.name,
            "strategy": intent.settings.strategy,
            "steps": [describe_step(step) for step in intent.settings.steps],
            "replicas": release.replicas,
            "routes": {name: service.route for name, service in release.services.items()},
            "deadline": intent.settings.deadline,
        },
    )


def describe_step(step: strategy.Step) -> str:
    match step:
        case strategy.SetWeight(weight):
            return f"{weight} % of the traffic"
        case strategy.Pause(None):
            return "pause until a person goes on"
        case strategy.Pause(seconds):
            return f"pause {seconds:g} s"
        case strategy.Verify(settings):
            # Its limits are part of what is approved.
            return "verify" + (f" ({_listed(settings)})" if settings else "")
        case strategy.Roll(surge, unavailable):
            return f"replace replicas ({surge} more, {unavailable} fewer at most)"
        case strategy.Preview():
            return "start the complete new set"
        case strategy.Finish(keep):
            return f"all traffic, keep the old set {keep:g} s" if keep else "all traffic"


def _listed(value: Any) -> str:
    """A mapping in words, in an order that never changes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_listed(value[key])}" for key in sorted(value))
    return " ".join(map(_listed, value)) if isinstance(value, list | tuple) else str(value)


def _service_changes(name: str, before: Service | None, after: Service | None) -> list[Change]:
    facts_before, facts_after = _facts(before), _facts(after)
    titles = sorted({*facts_before, *facts_after})
    return [Change(f"{name}: {title}", facts_before.get(title, ""), facts_after.get(title, "")) for title in titles]


def _facts(service: Service | None) -> dict[str, str]:
    """Everything that matters about a service, in words; of a secret its reference and never its value."""
    if service is None:
        return {}
    return {
        "digest": service.digest,
        "command": " ".join(service.command),
        "route": service.route,
        "replicas": str(service.replicas),
        "health": service.health,
        "drain": f"{service.drain:g} s",
        **{f"variable {name}": value for name, value in service.env.items()},
        **{f"secret {name}": f"{ref} of {service.team}" for name, ref in service.secrets.items()},
    }
