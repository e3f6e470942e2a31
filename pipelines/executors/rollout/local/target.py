"""The `local` target of rollouts, and what an environment's page wants to know of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.executors.rollout.local.desired import DesiredState, read_desired, write_desired
from pipelines.executors.rollout.local.place import Place, read_json, write_json
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.strategy import Count, Desired, Observation
from pipelines.executors.rollout.target import SupersededError

KEPT = 10
NOT_GOING = ("leaving", "stopping")


class LocalTarget:
    """Processes behind Traefik, on behalf of the rollout `key`. `release` is the one that it brings."""

    def __init__(self, place: Place, key: str, release: Release) -> None:
        self.place, self.key, self.release = place, key, release

    def observe(self) -> Observation:
        wanted = read_desired(self.place).generation
        seen = read_json(self.place.observed) or {}
        sets = {
            release: {service: _count(replicas) for service, replicas in services.items()}
            for release, services in seen.get("sets", {}).items()
        }
        sets = {r: {s: c for s, c in services.items() if c.running} for r, services in sets.items()}
        return Observation(
            sets={release: services for release, services in sets.items() if services},
            weights=seen.get("weights", {}),
            current=seen.get("generation") == wanted,
        )

    def apply(self, desired: Desired) -> None:
        """Raises SupersededError when the environment belongs to another rollout."""
        with self.place.locked():
            before = self._own()
            after = self._after(before, desired)
            if after != before:
                write_desired(self.place, replace(after, generation=before.generation + 1))

    def finish(self, desired: Desired, stable: str) -> None:
        """Leave this as the environment's state, with this release as the one to go back to."""
        with self.place.locked():
            before = self._own()
            after = replace(self._after(before, desired), stable=stable, rollout="", finished=self.key)
            needed = {name: one for name, one in after.releases.items() if name in after.sets}
            after = replace(after, releases=needed, generation=before.generation + 1)
            write_desired(self.place, after)

    def _own(self) -> DesiredState:
        state = read_desired(self.place)
        # A worker that died between the last write and its own note of it comes here again.
        finished_by_us = not state.rollout and state.finished == self.key
        if state.rollout != self.key and not finished_by_us:
            raise SupersededError(f"The rollout {state.rollout or '(none)'} has {self.place.name} now.")
        return state

    def _after(self, before: DesiredState, desired: Desired) -> DesiredState:
        now = time.time()
        # What an earlier blue-green keeps for a while stays that long, unless this rollout has a say in it.
        kept = {r: at for r, at in before.retire.items() if at > now and r not in desired.sets}
        kept = {r: at for r, at in kept.items() if r in before.sets and r != self.release.name}
        sets = {**{r: before.sets[r] for r in kept}, **desired.sets}
        retire = {**kept, **{r: now + seconds for r, seconds in desired.keep.items()}}
        releases = {**before.releases, self.release.name: self.release}
        return replace(before, sets=sets, weights=desired.weights, retire=retire, releases=releases)


def take(place: Place, key: str, busy: Any) -> DesiredState:
    """Make the environment this rollout's; returns its state. `busy(other_key)` tells whether somebody drives
    another one. Raises SupersededError if so."""
    with place.locked():
        state = read_desired(place)
        if state.rollout not in ("", key) and busy(state.rollout):
            raise SupersededError(f"The rollout {state.rollout} is at work in {place.name}; wait for its end.")
        if state.rollout != key:
            write_desired(place, replace(state, rollout=key))
        return state


def why_not_ready(place: Place, release: str) -> str:
    """What keeps replicas of a release from being ready, in words."""
    seen = read_json(place.observed) or {}
    said = []
    for service, replicas in seen.get("sets", {}).get(release, {}).items():
        for one in replicas:
            if not one["ready"] and one["state"] not in NOT_GOING:
                deaths = f", died {one['restarts']} times" if one["restarts"] else ""
                said.append(f"{service} is {one['state']}{deaths}: {one['error'] or 'no answer yet'}")
    if seen.get("router", {}).get("problem"):
        said.append(seen["router"]["problem"])
    return "\n".join(dict.fromkeys(said)) or "nothing is known about its replicas"


# --- what the portal shows -------------------------------------------------------------------------


def status(home: Path, environment: str) -> dict[str, Any]:
    """What runs in an environment: {"environment", "release", "commit", "run", "since", "rollout",
    "weights", "config_digest", "config_problem", "access", "router", "generation", "sets": {release:
    {service: {"digest", "wanted", "ready", "replicas": [...]}}}}; "release" is "" while nothing was rolled
    out yet."""
    place = Place(home, environment)
    state, seen = read_desired(place), read_json(place.observed) or {}
    stable = state.releases.get(state.stable)
    sets: dict[str, Any] = {}
    for release, services in seen.get("sets", {}).items():
        known = state.releases[release].services if release in state.releases else {}
        for service, replicas in services.items():
            sets.setdefault(release, {})[service] = {
                "digest": known[service].digest if service in known else "",
                "wanted": state.sets.get(release, {}).get(service, 0),
                "ready": sum(one["ready"] for one in replicas),
                "replicas": replicas,
            }
    return {
        "environment": environment,
        "release": state.stable,
        "commit": stable.commit if stable else "",
        "run": stable.run if stable else None,
        "since": stable.when if stable else None,
        "rollout": state.rollout,
        "generation": state.generation,
        "weights": seen.get("weights", {}),
        "sets": sets,
        "router": seen.get("router", {"ok": False, "problem": "", "restarts": 0}),
        "config_digest": seen.get("config", {}).get("digest", ""),
        "config_problem": seen.get("config", {}).get("problem", ""),
        "access": seen.get("access", {}),
    }


def releases(home: Path, environment: str) -> list[dict[str, Any]]:
    """The releases that can be gone back to, the latest rolled out first: `Release` as a mapping, and
    "current" and "digests" (service to digest)."""
    place = Place(home, environment)
    stable = read_desired(place).stable
    found = [read_json(path) for path in place.releases.glob("*.json")]
    found = sorted((one for one in found if one), key=lambda one: one["when"], reverse=True)
    return [
        {
            **one,
            "current": one["name"] == stable,
            "digests": {name: service["digest"] for name, service in one["services"].items()},
        }
        for one in found
    ]


def kept_release(place: Place, name: str) -> Release | None:
    if "/" in name or name.startswith("."):
        return None
    data = read_json(place.releases / f"{name}.json")
    return Release.from_dict(data) if data else None


def keep_release(place: Place, release: Release) -> None:
    """Remember a release that was rolled out, and forget the oldest beyond KEPT."""
    write_json(place.releases / f"{release.name}.json", release.as_dict(), durable=True)
    needed = {release.name, *read_desired(place).releases}
    old = [one["name"] for one in releases(place.home, place.name)[KEPT:]]
    for name in set(old) - needed:
        (place.releases / f"{name}.json").unlink(missing_ok=True)


def _count(replicas: list[Mapping[str, Any]]) -> Count:
    going = [one for one in replicas if one["state"] not in NOT_GOING]
    return Count(len(going), sum(bool(one["ready"]) for one in going))
