"""All places of an environment together, as one target: in lockstep, with one abort."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from pipelines.executors.base import Log
from pipelines.executors.kubernetes import apply as applying
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError, Conflict, Refusals, Refused, Stopped
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.kubernetes.render import job_state
from pipelines.executors.rollout.kubernetes import autoscaling, reasons
from pipelines.executors.rollout.kubernetes.autoscaling import HELD
from pipelines.executors.rollout.kubernetes.place import Place
from pipelines.executors.rollout.kubernetes.records import Records
from pipelines.executors.rollout.kubernetes.settling import settle
from pipelines.executors.rollout.kubernetes.shape import Layout, Object
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.strategy import Count, Desired, Observation, Rollout
from pipelines.executors.rollout.target import AwayError, NotPreparedError, RefusedError

# A watch that lost an event would be noticed after so many seconds.
LOOK_AGAIN = 0.5
TROUBLES_EVERY = 1.0
GONE_WITHIN = 15.0
MOST_REASONS = 8


@contextmanager
def answering() -> Iterator[None]:
    """What the cluster's client says, as the driver of rollouts understands it."""
    try:
        yield
    except (ClusterAway, Stopped) as error:
        raise AwayError(str(error), error.retry_after if isinstance(error, ClusterAway) else None) from error
    except ClusterError as error:
        # A refusal is no machinery that broke by itself: the sentence is the server's.
        raise RefusedError(str(error)) from error


def key_of(place: str, service: str) -> str:
    """How the arithmetic calls a service of a place."""
    return f"{place}/{service}"


@dataclass(slots=True)
class ClusterTarget:
    """A `target.Target`. `places` are those that answer, by name. `records` holds the environment's state."""

    environment: str
    pipeline: str
    key: str
    release: Release
    places: Mapping[str, Place]
    records: Records
    changed: threading.Event
    deadline: float
    is_rollback: bool = False
    # Why places that are in none of the others do not answer, by name, and whether they do by now.
    away: Mapping[str, str] = field(default_factory=dict)
    answer_again: Callable[[], bool] = lambda: True
    said: set[str] = field(default_factory=set)
    looked: float = 0.0
    counted: float = 0.0
    # Nodes by service of a place and mark of the DaemonSet that they are fit for.
    nodes: dict[tuple[str, str], int] = field(default_factory=dict)
    moving: bool = False

    # --- before the first replica ---------------------------------------------------------------------

    def prepare(self) -> Iterator[Log | None]:
        """Accounts, configuration and the like, and what keeps data; then the Jobs, each to its end."""
        with answering():
            for place in self.places.values():
                yield from self._hold_autoscalers(place)
                yield from self._bring(place.client, place.new.before)
                place.begin_stateful()
            yield from self._jobs()

    def _bring(self, client: Client, objects: Sequence[Object]) -> Iterator[Log]:
        """What others changed of it is taken back, as the plan says, and told."""
        try:
            applying.apply(client, objects)
        except Conflict as conflict:
            if not conflict.fields:
                raise
            for item in objects:
                yield from self._take_back(client, item)

    def _take_back(self, client: Client, item: Object) -> Iterator[Log]:
        try:
            applying.apply(client, [item])
        except Conflict as conflict:
            if not conflict.fields:
                raise
            yield Log(f"{client.place}: {reasons.back_again(Ref.of(item), conflict.fields)}\n")
            applying.apply(client, [item], force=True)

    def _hold_autoscalers(self, place: Place) -> Iterator[Log]:
        """Until the end, when the release that stays is applied with its own."""
        if (stable := place.stable) is None:
            return
        for service, scaler in autoscaling.scalers(stable).items():
            there, new = stable.workloads[service], place.new.workloads.get(service)
            if new is None or new.mark != there.mark:
                item = autoscaling.held(scaler, grows=service in place.growing)
                place.client.apply(item, force=True)
                yield Log(f"{place.client.place}: {Ref.of(item)} {item['metadata']['annotations'][HELD]}\n")

    def _jobs(self) -> Iterator[Log | None]:
        until = time.monotonic() + self.deadline
        open_ = {(name, Ref.of(job)): job for name, place in self.places.items() for job in place.new.jobs}
        for (name, _), job in open_.items():
            applying.apply(self.places[name].client, [job])
        while open_:
            for (name, ref), job in list(open_.items()):
                client = self.places[name].client
                state, reason = job_state(client.get(ref) or job)
                if state == "failed":
                    words = self._last_words(self.places[name], ref)
                    raise NotPreparedError(f"{client.place}: {ref} failed: {reason}{words}")
                if state == "succeeded":
                    yield Log(f"{client.place}: {ref} is done\n")
                    del open_[name, ref]
            if open_ and time.monotonic() > until:
                names = "; ".join(f"{place}: {ref}{self._waits_for(self.places[place], ref)}" for place, ref in open_)
                raise NotPreparedError(f"Not done within {self.deadline:g} s: {names}.")
            yield None
            if open_:
                self.wait(LOOK_AGAIN)

    def _waits_for(self, place: Place, job: Ref) -> str:
        """What keeps the pods of a Job from being done, as far as anything is known."""
        pods = place.client.list("Pod", labels=f"job-name={job.name}")
        said = [text for pod in pods if (text := reasons.why(pod, lambda *_: ""))]
        events = [] if pods else place.client.list("Event", fields=f"involvedObject.name={job.name}")
        said += reasons.events_of(job.name, events)
        return "".join(f"\n{text}" for text in dict.fromkeys(said))

    def _last_words(self, place: Place, job: Ref) -> str:
        pods = place.client.list("Pod", labels=f"job-name={job.name}")
        for pod in sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True):
            try:
                lines = place.client.log(pod["metadata"]["name"], lines=5).strip().splitlines()
            except Refused:
                continue
            if lines:
                return f"\n{pod['metadata']['name']}: {lines[-1][:300]}"
        return ""

    # --- what there is --------------------------------------------------------------------------------

    def observe(self) -> Observation:
        with answering():
            sets: dict[str, dict[str, Count]] = {}
            weights = []
            for name, place in self.places.items():
                for release, services in place.counts().items():
                    there = sets.setdefault(release, {})
                    there.update({key_of(name, service): count for service, count in services.items() if count.running})
                weights.append(place.weights())
        self.moving = None in weights
        alike = weights[0] if weights and all(one == weights[0] for one in weights) else None
        return Observation({release: services for release, services in sets.items() if services}, alike or {})

    def fit(self, rollout: Rollout) -> Rollout:
        """The numbers of replicas that others decide."""
        with answering():
            return self._as_autoscaled(self._as_nodes(rollout))

    def _as_autoscaled(self, rollout: Rollout) -> Rollout:
        """The load has grown where an autoscaler has added replicas to the stable set."""
        old, new = dict(rollout.old), dict(rollout.new)
        for name, place in self.places.items():
            for service, count in place.grown().items():
                key = key_of(name, service)
                if count > old.get(key, count):
                    old[key] = count
                    if key in new:
                        new[key] = max(new[key], place.new_count(service, count))
        return replace(rollout, new=new, old=old)

    def _as_nodes(self, rollout: Rollout) -> Rollout:
        """A DaemonSet has as many pods as there are nodes for it."""
        daemons = {
            key_of(name, service): (place, service)
            for name, place in self.places.items()
            for service, workload in place.new.workloads.items()
            if workload.kind == "DaemonSet" and key_of(name, service) in rollout.new
        }
        if not daemons:
            return rollout
        if daemons.keys() - {key for key, _ in self.nodes} or time.monotonic() - self.counted > 2 * LOOK_AGAIN:
            self.counted = time.monotonic()
            for key, (place, service) in daemons.items():
                self._count_nodes(key, place, service)
        new, old = dict(rollout.new), dict(rollout.old)
        for key, (place, service) in daemons.items():
            marks = place.marks(service)
            new[key] = self.nodes.get((key, marks[0]), new[key])
            if key in old:
                old[key] = self.nodes.get((key, marks[-1]), old[key])
        return replace(rollout, new=new, old=old)

    def _count_nodes(self, key: str, place: Place, service: str) -> None:
        counted, number = place.nodes().get(service, ("", 0))
        for mark in place.marks(service) if counted else ():
            # Nodes come and go for both releases; one that no node is fit for stays so while the other's are counted.
            if mark == counted or (number and self.nodes.get((key, mark)) != 0):
                self.nodes[key, mark] = number

    def missing(self) -> str:
        return " ".join(dict.fromkeys(self.away.values()))

    def is_back(self) -> bool:
        return self.answer_again()

    def wait(self, seconds: float) -> None:
        # A router says in its route's status that it took it in; routes are not watched.
        if self.changed.wait(seconds if self.moving else max(seconds, LOOK_AGAIN)):
            self.changed.clear()

    def tend(self) -> None:
        """The cluster keeps what it was told by itself."""

    def why_not_ready(self, release: str) -> str:
        with answering():
            said = [text for place in self.places.values() for text in place.troubles(release)]
        # Where some say what is wrong, those that only are not ready yet say nothing.
        said = [text for text in said if not text.endswith(_NORMAL)] or said
        return "\n".join(list(dict.fromkeys(said))[:MOST_REASONS]) or self._counted(release)

    def _counted(self, release: str) -> str:
        """What can be said where the cluster says nothing."""
        with answering():
            found = {name: place.counts().get(release, {}) for name, place in self.places.items()}
        said = [
            f"{name}: {service} has {count.running} pods, {count.ready} of them ready for long enough"
            for name, services in found.items()
            for service, count in services.items()
        ]
        return "\n".join(said[:MOST_REASONS]) or "nothing is known about its pods"

    def news(self) -> Sequence[str]:
        taken_back = [place.taken_back.pop(0) for place in self.places.values() for _ in list(place.taken_back)]
        if time.monotonic() - self.looked < TROUBLES_EVERY:
            return taken_back
        self.looked = time.monotonic()
        with answering():
            found = [text for place in self.places.values() for text in place.troubles(self.release.name)]
        # That a pod starts is no news.
        fresh = [text for text in found if text not in self.said and not text.endswith(_NORMAL)]
        self.said.update(fresh)
        return [*taken_back, *fresh]

    # --- one step -------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> None:
        with answering(), Refusals() as refusals:
            for name, place in self.places.items():
                with refusals.later():
                    if place.apply(_of_place(desired.sets, name), desired.weights, back=desired.back):
                        # No pod changes by it, so nothing would say that the next step may follow.
                        self.changed.set()

    def finish(self, desired: Desired, stable: str) -> None:
        """The rest of the release that stays; what is of others goes, or is kept for a while."""
        with answering():
            for name, place in self.places.items():
                place.apply(_of_place(desired.sets, name), desired.weights, back=desired.back)
            now = time.time()
            before = self.records.read()
            older = {r: at for r, at in before.retire.items() if at > now and r not in (stable, self.release.name)}
            retire = {**older, **{r: now + seconds for r, seconds in desired.keep.items()}}
            self._until_gone(stable, retire)
            came = stable == self.release.name
            held = (stable if self.is_rollback else "") if came else before.held
            self.records.write(self.key, stable=stable, rollout="", finished=self.key, retire=retire, held=held)
            kept = self.records.forget([*([stable] if stable else []), *retire])
            for place in self.places.values():
                layout = _layout(place, stable)
                where = {"pipeline": self.pipeline, "environment": self.environment}
                settle(place.client, layout, kept, retire, **where)

    def keep(self, release: Release) -> None:
        with answering():
            self.records.keep(release)

    def _until_gone(self, stable: str, retire: Mapping[str, float]) -> None:
        """Until the pods that shall go are on their way."""
        until = time.monotonic() + GONE_WITHIN
        while time.monotonic() < until:
            self.changed.clear()
            if not any(
                place.running_beside(layout, [other for other in place.layouts if other.release in retire])
                for place in self.places.values()
                if (layout := _layout(place, stable)) is not None
            ):
                return
            self.changed.wait(LOOK_AGAIN)


_NORMAL = (": starts", "its readiness probe does not pass yet")


def _of_place(sets: Mapping[str, Mapping[str, int]], name: str) -> dict[str, dict[str, int]]:
    """The services of one place, by their own names."""
    prefix = key_of(name, "")
    return {
        release: {key.removeprefix(prefix): count for key, count in services.items() if key.startswith(prefix)}
        for release, services in sets.items()
    }


def _layout(place: Place, release: str) -> Layout | None:
    return next((layout for layout in place.layouts if layout.release == release), None)


def close_all(places: Mapping[str, Place]) -> None:
    with ExitStack() as stack:
        for place in places.values():
            stack.callback(place.client.close)
            stack.callback(place.close)
