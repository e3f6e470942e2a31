"""What a rollout tells of itself: its state for the page, and at its end the release that it brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.executors.base import Artifact
from pipelines.executors.rollout.plan import describe_step
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.strategy import Observation, Position, Rollout


def facts(
    rollout: Rollout,
    position: Position,
    seen: Observation,
    troubles: Sequence[str] = (),
    verdicts: Sequence[Mapping[str, Any]] = (),
) -> Mapping[str, Any]:
    """The data of its Progress events and of its Outcome. "ready", "running" and "wanted" map release to service to
    replicas: those ready, those that exist, those that there shall be once the release has all traffic."""
    step = rollout.steps[position.step]
    wanted = {rollout.release: dict(rollout.new)}
    if rollout.replaces:
        wanted[str(rollout.stable)] = dict(rollout.old)
    return {
        "release": rollout.release,
        "stable": rollout.stable,
        "canary": rollout.release if rollout.replaces else None,
        "weight": seen.weights.get(rollout.release, 0),
        "weights": dict(seen.weights),
        "step": position.step + 1,
        "steps": len(rollout.steps),
        "doing": "abort" if position.aborted is not None else describe_step(step),
        "ready": {
            release: {service: count.ready for service, count in services.items()}
            for release, services in seen.sets.items()
        },
        "running": {
            release: {service: count.running for service, count in services.items()}
            for release, services in seen.sets.items()
        },
        "wanted": wanted,
        "troubles": list(troubles),
        "verdicts": list(verdicts),
    }


def artifact(release: Release, environment: str, url: str, stage: str) -> Artifact:
    """What later stages know of the release, under the stage's name; `url` is where customers reach it."""
    meta = {
        "release": release.name,
        "environment": environment,
        "commit": release.commit,
        "run": release.run,
        "url": url,
        "services": {name: service.digest for name, service in release.services.items()},
    }
    return Artifact(stage, "release", f"sha256:{release.content}", meta=meta)


def told(step: int, state: str, reason: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict, or how far a measurement is, for the page and the attempt."""
    known = {key: numbers[key] for key in ("total", "baseline", "customers") if key in numbers}
    return {"step": step + 1, "state": state, "reason": reason, **known}
