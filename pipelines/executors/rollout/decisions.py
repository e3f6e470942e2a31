"""Where to go next in a rollout. Pure, like the types in `strategy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pipelines.executors.rollout.strategy import (
    Decision,
    Desired,
    Finish,
    Observation,
    Pause,
    Position,
    Preview,
    Roll,
    Rollout,
    SetWeight,
    Verify,
    canary_count,
    fenceposts,
    rolling_counts,
    shared_count,
)


def decide(rollout: Rollout, position: Position, seen: Observation, now: float) -> Decision:
    """Say what to do next. `now` is in seconds of any clock that does not go back while the rollout lasts."""
    if position.aborted is not None:
        return _back(rollout, position, seen, now)
    if not rollout.replaces:
        position = promote_fully(rollout, position, now)
    step = rollout.steps[position.step]
    if isinstance(step, Pause | Verify):
        return _hold(rollout, position, seen, now, step)
    if isinstance(step, Roll):
        return _roll(rollout, position, seen, now, step)
    if isinstance(step, Finish):
        return _finish(rollout, position, seen, now, step)
    return _shift(rollout, position, seen, now, step)


def go_on(position: Position, now: float) -> Position:
    """The step is over: what it waited for (a person, a measurement, its time) has come."""
    return replace(position, step=position.step + 1, entered=now, waiting_since=None, high=-1)


def promote(rollout: Rollout, position: Position, now: float) -> Position:
    """Skip the present pause; elsewhere nothing changes."""
    waits = position.aborted is None and isinstance(rollout.steps[position.step], Pause)
    return go_on(position, now) if waits else position


def promote_fully(rollout: Rollout, position: Position, now: float) -> Position:
    """Skip all that is left but the finish."""
    last = len(rollout.steps) - 1
    if position.aborted is not None or position.step >= last:
        return position
    return replace(go_on(position, now), step=last)


def abort(position: Position, reason: str, now: float) -> Position:
    """Turn back; a rollout that turns back already keeps its first reason."""
    if position.aborted is not None:
        return position
    return replace(position, aborted=reason, entered=now, waiting_since=None, high=-1)


def _complete(seen: Observation, release: str | None, wanted: Mapping[str, int]) -> bool:
    return all(seen.count(release, name).ready >= count for name, count in wanted.items())


def _share(seen: Observation, release: str, wanted: Mapping[str, int]) -> int:
    """Per cent of the wanted replicas that are ready, of the service that is worst off."""
    shares = [100 * seen.count(release, name).ready // count for name, count in wanted.items() if count]
    return min([100, *shares])


def _running(seen: Observation, release: str | None, names: Mapping[str, int]) -> dict[str, int]:
    return {name: seen.count(release, name).running for name in names}


def _weights(rollout: Rollout, canary_weight: int) -> dict[str, int]:
    if not rollout.replaces:
        return {rollout.release: 100} if rollout.stable or canary_weight else {}
    shares = {str(rollout.stable): 100 - canary_weight, rollout.release: canary_weight}
    return {name: weight for name, weight in shares.items() if weight}


def _sets(rollout: Rollout, new: Mapping[str, int], old: Mapping[str, int]) -> dict[str, dict[str, int]]:
    sets = {rollout.release: {name: count for name, count in new.items() if count}}
    if rollout.replaces:
        sets[str(rollout.stable)] = {name: count for name, count in old.items() if count}
    return {release: services for release, services in sets.items() if services}


def _counts(rollout: Rollout, position: Position, weight: int) -> tuple[dict[str, int], dict[str, int]]:
    """(new, old) replicas per service at a weight; a preview before this step has made the new set
    complete."""
    preview = any(isinstance(step, Preview) for step in rollout.steps[: position.step + 1])
    new = {name: total if preview else canary_count(total, weight) for name, total in rollout.new.items()}
    old = {}
    for name, total in rollout.old.items():
        shrinks = rollout.dynamic_stable or name in rollout.ratio
        old[name] = canary_count(total, 100 - weight if shrinks else 100)
    for name in rollout.shared & rollout.new.keys():
        new[name] = shared_count(rollout.old.get(name, 0), rollout.new[name], weight)
    return new, _beside(rollout, new, old)


def _beside(rollout: Rollout, new: Mapping[str, int], old: Mapping[str, int]) -> dict[str, int]:
    """`old`, but of shared services only what `new` leaves them."""
    left = dict(old)
    for name in rollout.shared & rollout.new.keys() & rollout.old.keys():
        total = min(rollout.old[name], rollout.new[name]) if new.get(name) else rollout.old[name]
        left[name] = max(0, total - new.get(name, 0))
    return left


def _all_new(rollout: Rollout, old: Mapping[str, int]) -> dict[str, int]:
    """`old` beside the complete new set: of shared services nothing is left then."""
    return {name: 0 if name in rollout.shared & rollout.new.keys() else count for name, count in old.items()}


def _at_least(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in {**first, **second}}


def _wait(rollout: Rollout, position: Position, desired: Desired | None, text: str, now: float) -> Decision:
    since = position.waiting_since if position.waiting_since is not None else now
    verb: Literal["wait", "overdue"] = "overdue" if now - since > rollout.deadline else "wait"
    return Decision(replace(position, waiting_since=since), desired, verb, text)


def _next(position: Position, desired: Desired, text: str, now: float) -> Decision:
    return Decision(go_on(position, now), desired, "wait", text)


def _shift(rollout: Rollout, position: Position, seen: Observation, now: float, step: SetWeight | Preview) -> Decision:
    """To a weight: first the replicas, then the traffic, and only then fewer of the old ones."""
    weight = step.weight if isinstance(step, SetWeight) else 0
    new, old = _counts(rollout, position, weight)
    rest_new, rest_old = _counts(rollout, position, position.weight)
    in_place = rollout.shared & rollout.new.keys()
    begun = {**_at_least(new, _ahead(rollout, position)), **{name: new[name] for name in in_place}}
    both = _sets(
        rollout,
        {**_at_least(begun, rest_new), **{name: new[name] for name in in_place}},
        {**_at_least(old, rest_old), **{name: old[name] for name in in_place if name in old}},
    )
    ready = seen.current and _complete(seen, rollout.release, new) and _complete(seen, rollout.stable, old)
    if position.weight != weight and not ready:
        desired = Desired(both, _weights(rollout, position.weight))
        return _wait(rollout, position, desired, f"waiting for replicas for {weight} %", now)
    if position.weight != weight:
        position = replace(position, weight=weight, waiting_since=now)
    weights = _weights(rollout, weight)
    if not ready or seen.weights != weights:
        text = f"moving {weight} % of the traffic" if weight else f"waiting for {rollout.release}"
        return _wait(rollout, position, Desired(both, weights), text, now)
    text = f"{weight} % of the traffic goes to {rollout.release}"
    return _next(position, Desired(_sets(rollout, begun, old), weights), text, now)


def _ahead(rollout: Rollout, position: Position) -> dict[str, int]:
    """The new replicas of the next step, where it follows at once."""
    step = rollout.steps[position.step + 1]
    if not rollout.run_ahead or not isinstance(step, SetWeight | Finish):
        return {}
    return _counts(rollout, position, step.weight if isinstance(step, SetWeight) else 100)[0]


def _hold(rollout: Rollout, position: Position, seen: Observation, now: float, step: Pause | Verify) -> Decision:
    new, old = _counts(rollout, position, position.weight)
    desired = Desired(_sets(rollout, new, old), _weights(rollout, position.weight))
    if not seen.current or not _complete(seen, rollout.release, new):
        return _wait(rollout, position, desired, f"replicas of {rollout.release} are not ready", now)
    position = replace(position, waiting_since=None)
    if isinstance(step, Verify):
        return Decision(position, desired, "verify", f"measuring {rollout.release}")
    if step.duration is None:
        return Decision(position, desired, "pause", f"paused at {position.weight} % until a person goes on")
    if now - position.entered >= step.duration:
        return _next(position, desired, "the pause is over", now)
    return Decision(position, desired, "wait", f"paused at {position.weight} % for {step.duration:g} s")


def _roll(rollout: Rollout, position: Position, seen: Observation, now: float, step: Roll) -> Decision:
    if not seen.current:
        # Counts of before the last step would take the same replicas away twice.
        return _wait(rollout, position, None, "waiting for the target", now)
    new: dict[str, int] = {}
    old = dict(rollout.old)
    progress = 0
    for name, total in rollout.new.items():
        surge, unavailable = fenceposts(step.max_surge, step.max_unavailable, total)
        fresh, aged = seen.count(rollout.release, name), seen.count(rollout.stable, name)
        if name in rollout.shared:
            # The place has to be empty before the next one can take it.
            surge, unavailable = 0, max(1, unavailable)
        new[name], old[name] = rolling_counts(total, fresh, aged, surge, unavailable)
        if name in rollout.shared:
            new[name] = max(0, total - old[name])
        progress += fresh.ready + max(0, rollout.old.get(name, 0) - aged.running)
    desired = Desired(_sets(rollout, new, old), None)
    if progress > position.high:
        # Each replica that comes or goes starts the deadline again, as progressDeadlineSeconds does.
        position = replace(position, high=progress, waiting_since=now)
    gone = not any(_running(seen, rollout.stable, rollout.new).values())
    if gone and _complete(seen, rollout.release, rollout.new):
        return _next(replace(position, weight=100), desired, "all replicas are replaced", now)
    ready = sum(seen.count(rollout.release, name).ready for name in rollout.new)
    text = f"{ready} of {sum(rollout.new.values())} replicas replaced"
    return _wait(rollout, position, desired, text, now)


def _finish(rollout: Rollout, position: Position, seen: Observation, now: float, step: Finish) -> Decision:
    ready = seen.current and _complete(seen, rollout.release, rollout.new)
    if position.weight < 100:
        shrunk = _all_new(rollout, _counts(rollout, position, position.weight)[1])
        held = Desired(_sets(rollout, rollout.new, shrunk), {})
        held = replace(held, weights=_weights(rollout, position.weight))
        if not ready:
            return _wait(rollout, position, held, f"waiting for all replicas of {rollout.release}", now)
        position = replace(position, weight=100, waiting_since=now)
    weights = {rollout.release: 100}
    if not ready or seen.weights != weights:
        left = _all_new(rollout, _running(seen, rollout.stable, rollout.old))
        beside = _sets(rollout, rollout.new, left)
        text = f"moving all traffic to {rollout.release}"
        return _wait(rollout, position, Desired(beside, weights), text, now)
    keep = {str(rollout.stable): step.keep} if step.keep and rollout.replaces else {}
    sets = _sets(rollout, rollout.new, _all_new(rollout, rollout.old) if keep else {})
    return Decision(position, Desired(sets, weights, keep), "done", f"{rollout.release} has all traffic")


def _back(rollout: Rollout, position: Position, seen: Observation, now: float) -> Decision:
    """Back to the stable release, as fast as it has replicas ready, and the canary away once it gets
    nothing."""
    if rollout.stable is None:
        return _back_to_nothing(rollout, position, seen, now)
    if not rollout.replaces:
        desired = Desired({rollout.release: dict(rollout.old)}, {rollout.release: 100})
        return Decision(position, desired, "aborted", f"{rollout.release} stays as it was")
    back = sum(seen.count(rollout.stable, name).ready for name in rollout.old)
    if back > position.high:
        # As on the way there: what comes back one by one has the deadline for each.
        position = replace(position, high=back, waiting_since=now)
    share = _share(seen, rollout.stable, rollout.old)
    serves = _share(seen, rollout.release, dict.fromkeys(rollout.new, 1)) == 100
    position = replace(position, weight=min(position.weight, 100 - share) if serves else 0)
    weights: dict[str, int] | None = _weights(rollout, position.weight)
    if isinstance(rollout.steps[position.step], Roll) and share < 100:
        weights = None
    if share < 100 or not seen.current or seen.weights != {rollout.stable: 100}:
        left = _running(seen, rollout.release, rollout.new)
        new = {name: 0 if name in rollout.shared & rollout.old.keys() else count for name, count in left.items()}
        sets = _sets(rollout, new, rollout.old)
        return _wait(rollout, position, Desired(sets, weights, back=True), f"back to {rollout.stable}", now)
    desired = Desired({rollout.stable: dict(rollout.old)}, weights, back=True)
    return Decision(position, desired, "aborted", f"{rollout.stable} has all traffic again")


def _back_to_nothing(rollout: Rollout, position: Position, seen: Observation, now: float) -> Decision:
    desired = Desired({}, {}, back=True)
    if seen.current and not seen.sets.get(rollout.release):
        return Decision(position, desired, "aborted", "nothing is left of the first release")
    return _wait(rollout, position, desired, "taking the first release away", now)
