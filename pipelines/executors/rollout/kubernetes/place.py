"""One namespace during a rollout: what is there, and one step at a time towards what shall be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Conflict, Refusals
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.rollout.kubernetes import autoscaling, shape, troubles
from pipelines.executors.rollout.kubernetes.reasons import back_again
from pipelines.executors.rollout.kubernetes.seen import (
    Cache,
    by_mark,
    count,
    endpoints,
    is_going,
    is_of,
    is_ready,
    mark_of,
    mark_of_template,
)
from pipelines.executors.rollout.kubernetes.shape import Layout, Object, Workload
from pipelines.executors.rollout.kubernetes.traffic import EVENLY, Traffic
from pipelines.executors.rollout.strategy import Count


class Place:
    """`new` is the release that comes, `stable` the one that is there (None in a new environment). `labels` selects
    what is ours here. `tell` is called, in any thread, when something changes. `growing` are services whose stable set
    an autoscaler may add replicas to."""

    def __init__(
        self,
        client: Client,
        new: Layout,
        stable: Layout | None,
        labels: str,
        tell: Callable[[], None],
        growing: Collection[str] = (),
    ) -> None:
        self.client, self.new, self.stable, self.labels, self.growing = client, new, stable, labels, growing
        self._pods = Cache(client, "Pod", labels, tell)
        self.traffic = Traffic(client, self.layouts)
        self._slices = Cache(client, "EndpointSlice", shape.TEMPLATE, tell) if self.traffic.is_routed else None
        self._deployments = Cache(client, "Deployment", labels, tell)
        # What was applied last, by name; and, until the watch shows it, which pods were sent away.
        self._applied: dict[Ref, tuple[Any, ...]] = {}
        self._sent_away: set[str] = set()
        # What others had changed of workloads and was taken back, to be told.
        self.taken_back: list[str] = []

    @property
    def layouts(self) -> list[Layout]:
        return [self.new, *([self.stable] if self.stable else [])]

    def close(self) -> None:
        for cache in (self._pods, self._slices, self._deployments):
            if cache is not None:
                cache.close()

    def begin(self) -> None:
        """Read what a worker before this one may have done. Raises ClusterAway, Refused."""
        for kind in ("StatefulSet", "DaemonSet"):
            names = {w.name for layout in self.layouts for w in layout.workloads.values() if w.kind == kind}
            for name in sorted(names):
                if found := self.client.get(Ref(kind, name, "apps")):
                    self._applied[Ref(kind, name, "apps")] = _state(found)
        self.traffic.begin()

    # --- what is there --------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, Count]]:
        """Release to service to its counts, of the two releases that this is about."""
        pods, slices = by_mark(self._pods.objects()), self._slices.objects() if self._slices else []
        found: dict[str, dict[str, Count]] = {}
        for layout in self.layouts:
            services = found.setdefault(layout.release, {})
            for name, workload in layout.workloads.items():
                mine = [pod for pod in pods.get(workload.mark, ()) if pod["metadata"]["uid"] not in self._sent_away]
                services[name] = count(mine, workload.settles)
                if layout is self.new and name in layout.routed:
                    # A router must not be sent to a Service that leads nowhere yet. The pods that are there already
                    # count as they are: whoever takes them for unready lets them go.
                    services[name] = Count(
                        services[name].running, min(services[name].ready, endpoints(slices, workload.mark))
                    )
        return found

    def weights(self) -> Mapping[str, int] | None:
        """As in force; None while they are on their way."""
        found = self.traffic.weights()
        return self._by_pods() if found is EVENLY else found

    def nodes(self) -> dict[str, tuple[str, int]]:
        """(mark, how many pods it wants) of each DaemonSet: one for each node that is fit. Without those that were
        not counted since they were applied."""
        found = {}
        for name, workload in self.new.workloads.items():
            if workload.kind != "DaemonSet" or (live := self.client.get(workload.ref)) is None:
                continue
            status, generation = live.get("status") or {}, live["metadata"].get("generation")
            if status.get("observedGeneration") == generation:
                found[name] = mark_of_template(live), int(status.get("desiredNumberScheduled") or 0)
        return found

    def marks(self, service: str) -> list[str]:
        """Of the release that comes and, after it, of the one that is there, of those that have the service."""
        return [layout.workloads[service].mark for layout in self.layouts if service in layout.workloads]

    def grown(self) -> dict[str, int]:
        """Replicas of the stable sets that an autoscaler may add to, while they have some."""
        if self.stable is None:
            return {}
        there = {item["metadata"]["name"]: int(item["spec"].get("replicas", 1)) for item in self._deployments.objects()}
        counts = {service: there.get(self.stable.workloads[service].ref.name, 0) for service in self.growing}
        return {service: count for service, count in counts.items() if count}

    def new_count(self, service: str, count: int) -> int:
        """As many replicas of the new release as `count` of the stable one, within what its own autoscaler allows."""
        scaler = autoscaling.scalers(self.new).get(service)
        return autoscaling.within(scaler, count) if scaler else 0

    def running_beside(self, layout: Layout, kept: Sequence[Layout] = ()) -> list[str]:
        """The pods that are neither of this release nor of those kept beside it."""
        marks = {workload.mark for one in (layout, *kept) for workload in one.workloads.values()}
        return [
            pod["metadata"]["name"]
            for pod in self._pods.objects()
            if not is_going(pod) and mark_of(pod) and mark_of(pod) not in marks
        ]

    def _by_pods(self) -> dict[str, int]:
        """Shares by the number of ready pods that take traffic."""
        pods = by_mark(self._pods.objects())
        ready = {}
        for layout in self.layouts:
            served = [w for w in layout.workloads.values() if w.served and not w.shared]
            ready[layout.release] = sum(count(pods.get(w.mark, ())).ready for w in served)
        whole = sum(ready.values())
        return {release: round(100 * number / whole) for release, number in ready.items() if number} if whole else {}

    # --- one step -------------------------------------------------------------------------------------

    def apply(
        self, sets: Mapping[str, Mapping[str, int]], weights: Mapping[str, int] | None, *, back: bool = False
    ) -> bool:
        """Traffic first: what gets none any more goes only once this is in force, which the driver waits for. `back` is
        that of `strategy.Desired`.

        True if the traffic was moved. Raises Refused once all was tried that does not need what was refused."""
        moved = False
        new, old = sets.get(self.new.release, {}), sets.get(self.stable.release, {}) if self.stable else {}
        there = self.stable.workloads if self.stable else {}
        with Refusals() as refusals:
            with refusals.later():
                moved = self.traffic.move(weights, self._lead_somewhere)
            for name in dict.fromkeys([*self.new.workloads, *there]):
                with refusals.later():
                    wanted = new.get(name, 0), old.get(name, 0)
                    self._scale(self.new.workloads.get(name), there.get(name), *wanted, back=back)
        return moved

    def begin_stateful(self) -> None:
        """What keeps data and is not there yet begins before the Jobs, which may have to work on it. Nobody is
        disturbed by that."""
        for workload in self.new.workloads.values():
            if workload.kind == "StatefulSet" and workload.ref not in self._applied:
                for service in self.new.services:
                    if service["metadata"]["name"] == workload.object["spec"].get("serviceName"):
                        self.client.apply(shape.at_rest(service), force=True)
                self._put(workload, workload.replicas or 1, 0)

    def _scale(
        self, new: Workload | None, old: Workload | None, wanted_new: int, wanted_old: int, *, back: bool
    ) -> None:
        if new is not None and old is not None and new.mark == old.mark:
            # The same pods in both releases: only their number may differ, once the new one has everything.
            one, wanted = (new, wanted_new) if wanted_new >= (new.replicas or 0) else (old, wanted_old)
            if wanted and not one.shared:
                self._scale_deployment(one, wanted)
            elif wanted and not self._is_applied(one, wanted, 0):
                self._put(one, wanted, 0)
            return
        if new is not None and old is not None and new.shared and new.ref == old.ref:
            self._replace_in_place(new, old, wanted_new, wanted_old, back=back)
            return
        with Refusals() as refusals:
            # What a rollout begins to keep data stays until it turns back; what another kind replaces makes room.
            for workload, wanted, goes in ((new, wanted_new, back), (old, wanted_old, new is not None)):
                if workload is not None:
                    with refusals.later():
                        self._scale_alone(workload, wanted, goes=goes)

    def _scale_alone(self, workload: Workload, wanted: int, *, goes: bool) -> None:
        """A workload whose name has no other release's pods beside its own. `goes` lets one that is shared end where
        nothing is wanted of it."""
        if not workload.shared:
            self._scale_deployment(workload, wanted)
        elif wanted:
            if not self._is_applied(workload, wanted, 0):
                self._put(workload, wanted, 0)
            if workload.kind == "DaemonSet":
                self._send_away(workload, 0)
            elif self.new.workloads.get(workload.name) is not workload:
                self._send_away_broken(workload)
        elif goes and workload.ref in self._applied:
            self._let_end(workload)

    def _let_end(self, workload: Workload) -> None:
        if workload.kind == "StatefulSet":
            if not self._is_applied(workload, 0, 0):
                self._put(workload, 0, 0)
        elif live := self.client.get(workload.ref):
            # A DaemonSet has no number to be set to none.
            self.client.delete(workload.ref, uid=live["metadata"]["uid"])
            del self._applied[workload.ref]

    def _scale_deployment(self, workload: Workload, wanted: int) -> None:
        live = self._live(workload)
        if live == wanted or (live is None and not wanted):
            return
        if wanted and self._grows(workload) and self.grown().get(workload.name, 0) > wanted:
            # What was counted is older than what the autoscaler has added.
            return
        self._apply(shape.scaled(workload, wanted))
        self._applied[workload.ref] = (wanted,)

    def _grows(self, workload: Workload) -> bool:
        return (
            self.stable is not None
            and workload.name in self.growing
            and self.stable.workloads[workload.name] is workload
        )

    def _live(self, workload: Workload) -> int | None:
        """Replicas of a release's Deployment, None if there is none."""
        if workload.ref in self._applied:
            return int(self._applied[workload.ref][0])
        for item in self._deployments.objects():
            if item["metadata"]["name"] == workload.ref.name:
                return int(item["spec"].get("replicas", 1))
        return None

    def _replace_in_place(self, new: Workload, old: Workload, wanted_new: int, wanted_old: int, *, back: bool) -> None:
        """A StatefulSet's partition, or a DaemonSet's pods one by one, so that `wanted_old` of the old ones stay."""
        # Nothing of either is wanted where no node is fit for it, or somebody wants no replica: the template counts.
        goal = new if wanted_new or not (wanted_old or back) else old
        total = wanted_new + wanted_old
        keep = 0 if goal is old else wanted_old
        if not self._is_applied(goal, total, keep):
            self._put(goal, total, keep)
        if goal.kind == "DaemonSet":
            self._send_away(goal, keep)
        elif goal is old:
            self._send_away_broken(goal)

    def _is_applied(self, workload: Workload, total: int, keep: int) -> bool:
        return self._applied.get(workload.ref) == _wanted(workload, total, keep)

    def _put(self, workload: Workload, total: int, keep: int) -> None:
        self._apply(shape.scaled(workload, total, keep))
        self._applied[workload.ref] = _wanted(workload, total, keep)

    def _apply(self, item: Object) -> None:
        try:
            self.client.apply(item)
        except Conflict as conflict:
            # Their number is the rollout's business whoever else has set it, an autoscaler for one.
            if others := [one for one in conflict.fields if one.field != ".spec.replicas"]:
                self.taken_back.append(f"{self.client.place}: {back_again(Ref.of(item), others)}")
            self.client.apply(item, force=True)

    def _mine(self, workload: Workload) -> list[Object]:
        """The pods of a StatefulSet or DaemonSet, whichever release they are of."""
        return [
            pod
            for pod in self._pods.objects()
            if is_of(pod, workload.kind, workload.name) and pod["metadata"]["uid"] not in self._sent_away
        ]

    def _send_away(self, goal: Workload, keep: int) -> None:
        """One pod of a DaemonSet at a time, the next one only when the last one's successor is ready."""
        pods = self._mine(goal)
        others = [pod for pod in pods if mark_of(pod) != goal.mark]
        if len(others) <= keep or not all(is_ready(pod, goal.settles) for pod in pods if mark_of(pod) == goal.mark):
            return
        if self._leaving(goal):
            return
        # Those that do not work go first: they cost nothing.
        first = min(others, key=lambda pod: (is_ready(pod), pod["metadata"]["name"]))
        self._delete(first)

    def _leaving(self, goal: Workload) -> bool:
        """Whether a pod that was sent away is still there, or has no successor yet."""
        here = {pod["metadata"]["uid"] for pod in self._pods.objects()}
        if self._sent_away & here:
            return True
        self._sent_away.clear()
        live = self.client.get(goal.ref)
        wanted = int(((live or {}).get("status") or {}).get("desiredNumberScheduled") or 0)
        return len(self._mine(goal)) < wanted

    def _send_away_broken(self, goal: Workload) -> None:
        """A StatefulSet waits for a pod that will never be ready, even when its template is the former one again."""
        for pod in self._mine(goal):
            if mark_of(pod) != goal.mark and not is_ready(pod):
                self._delete(pod)

    def _delete(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._sent_away.add(uid)
        self.client.delete(Ref("Pod", pod["metadata"]["name"]), uid=uid)

    def _lead_somewhere(self, shares: Mapping[str, int]) -> bool:
        """Whether each release that gets traffic has endpoints behind its own Service, if it has pods at all."""
        slices, pods = self._slices.objects() if self._slices else [], by_mark(self._pods.objects())
        for layout in self.layouts:
            if not shares.get(layout.release):
                continue
            for name in layout.routed:
                mark = layout.workloads[name].mark
                if count(pods.get(mark, ())).ready and not endpoints(slices, mark):
                    return False
        return True

    # --- in words -------------------------------------------------------------------------------------

    def troubles(self, release: str) -> list[str]:
        """What keeps pods of a release from being ready."""
        layout = next((one for one in self.layouts if one.release == release), self.new)
        return troubles.of_release(self.client, layout, self._pods.objects(), self._deployments.objects())


def _state(item: Object) -> tuple[Any, ...]:
    """As `_wanted`, of what is there."""
    mark = mark_of_template(item)
    if item["kind"] == "DaemonSet":
        return (mark,)
    rolling = (item["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return (mark, int(item["spec"].get("replicas", 1)), int(rolling.get("partition") or 0))


def _wanted(workload: Workload, total: int, keep: int) -> tuple[Any, ...]:
    return (workload.mark,) if workload.kind == "DaemonSet" else (workload.mark, total, keep)
