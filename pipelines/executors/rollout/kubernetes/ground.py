"""An environment on clusters, on behalf of one stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from pipelines.executors.base import Control, Plan, PlanError, StageSpec, Workplace
from pipelines.executors.connections import Environment
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError, ManifestError, Refused
from pipelines.executors.kubernetes.names import is_label, selector
from pipelines.executors.kubernetes.render import is_without_values
from pipelines.executors.kubernetes.settle import present, refuse_foreign
from pipelines.executors.rollout.kubernetes import autoscaling, rendering, shape
from pipelines.executors.rollout.kubernetes.beginning import bring_secrets, refuse_strangers
from pipelines.executors.rollout.kubernetes.copies import Copies
from pipelines.executors.rollout.kubernetes.place import Place
from pipelines.executors.rollout.kubernetes.planning import make_plan
from pipelines.executors.rollout.kubernetes.records import Kept, Records, State
from pipelines.executors.rollout.kubernetes.settings import parse
from pipelines.executors.rollout.kubernetes.settling import HTTP_ROUTE
from pipelines.executors.rollout.kubernetes.shape import Layout
from pipelines.executors.rollout.kubernetes.target import ClusterTarget, answering, close_all, key_of
from pipelines.executors.rollout.progress import Progress, driven
from pipelines.executors.rollout.strategy import Rollout, Verify
from pipelines.executors.rollout.target import SupersededError, Target

# Seconds that a cluster which was away has for its answer.
ANSWERS_WITHIN = 3.0


class Clusters:
    """A `target.Ground`. `there` is what connections.yaml says of the environment."""

    def __init__(self, workplace: Workplace, spec: StageSpec, there: Environment) -> None:
        self.workplace, self.spec, self.there = workplace, spec, there
        self.environment = there.name
        self.settings = parse(spec)
        if not is_label(spec.pipeline):
            raise PlanError(f"The pipeline's name {spec.pipeline!r} cannot be a label in a cluster.")
        self._clients = {spot.name: Client(spot.cluster, spot.namespace) for spot in there.spots}
        self._records = Records(self._clients[there.spots[0].name], there.name)
        self._key = ContentKey.of(workplace.home)
        # What is brought and what was there, once it is known.
        self._new: Kept | None = None
        self._stable: Kept | None = None
        self._routed: dict[str, bool] = {}
        # Why places do not answer, by name, as of the last target.
        self._away: dict[str, str] = {}
        # Where one cluster may be away while others are not; and why the one with the records is.
        self._is_spread = len({spot.cluster.name for spot in there.spots}) > 1
        self._blind: ClusterAway | None = None

    @property
    def base_url(self) -> str:
        return self.there.url

    def plan(self) -> Plan:
        try:
            with answering():
                state = self._records.read()
                new, stable = self._intend(state)
                self._refuse_gone(new)
                kept = self._records.everything()
                gateways = {name: self._gateway(name) for name in self._clients}
                plan = make_plan(self.spec, self.settings, new, stable, self._clients, self._key, gateways, kept)
                held = self.held()
                return replace(plan, details={**plan.details, "held": held}) if held else plan
        except ClusterError as error:
            raise PlanError(str(error)) from None
        except ValueError as error:
            raise PlanError(str(error)) from None

    def held(self) -> str:
        with answering():
            held = "" if self.settings.release else self._records.read().held
        return f"{self.environment} was rolled back to {held}, which holds until it is released" if held else ""

    def begin(self, key: str) -> Progress:
        with answering():
            self._check_address()
            state = self._records.read()
            new, stable = self._intend(state)
            if state.rollout not in ("", key) and driven(self.workplace.home / "work" / state.rollout):
                raise SupersededError(f"The rollout {state.rollout} is at work in {self.environment}; wait for it.")
            self._refuse_strangers(new, stable)
            self._records.take(key, self.spec.pipeline)
            new = Kept(replace(new.release, when=time.time()), new.objects)
            try:
                if not self.settings.release:
                    self._records.prepare(new.release, new.objects)
                    bring_secrets(self._clients, new)
            except Refused:
                # Nothing has begun.
                self._records.write(key, rollout=state.rollout, pipeline=state.pipeline, progress=state.progress)
                raise
            self._new, self._stable = new, stable
            progress = Progress(new.release, stable.release.name if stable else None, {}, resumes=self.spec.resumes)
            progress.old = self._totals(stable, live=True) if stable else {}
            progress.position = replace(progress.position, entered=time.time())
            self.write(key, progress)
            return progress

    def read(self, key: str) -> Progress | None:
        with answering():
            copies = Copies(self.workplace.home / "work" / key) if self._is_spread else None
            here = copies.progress() if copies else None
            try:
                found, self._blind = self._records.progress(key), None
            except ClusterAway as away:
                if copies is None or here is None:
                    raise
                self._blind = away
                self._new, self._stable = copies.releases()
                return here
            if found and here and not found.over and found.position.aborted is None:
                # It turned back while the records were away.
                found.position = here.position if here.position.aborted is not None else found.position
            return found

    def write(self, key: str, progress: Progress) -> None:
        with answering():
            if self._blind is None:
                self._records.write_progress(key, progress)
            if self._is_spread:
                Copies(self.workplace.folder(key)).write_progress(progress)

    def rollout(self, progress: Progress) -> Rollout:
        with answering():
            new, stable = self._both(progress)
            present = [name for name in self._clients if name not in self._away]
            here = {name: self._layout(new, name) for name in present}
            other = stable if stable and stable.release.name != new.release.name else None
            there = {name: self._layout(other, name) for name in present} if other else {}
            same = _same(here, there)
            totals = {key: count for key, count in self._totals(new, live=False).items() if key not in same}
            totals |= _as_autoscaled(totals, progress.old, here)
            left_out = tuple(key_of(name, "") for name in self._away)
        shared, ratio = _kinds([*here.items(), *there.items()])
        return Rollout(
            release=progress.release.name,
            new=totals,
            stable=progress.stable,
            old={k: n for k, n in progress.old.items() if k not in same and not k.startswith(left_out)},
            steps=self.settings.steps,
            deadline=self.settings.deadline,
            dynamic_stable=self.settings.dynamic_stable,
            shared=shared,
            ratio=ratio,
            run_ahead=True,
        )

    @contextmanager
    def target(self, key: str, progress: Progress, control: Control) -> Iterator[Target]:
        changed = threading.Event()
        places: dict[str, Place] = {}
        with answering():
            new, stable = self._both(progress)
            if self._is_spread and self._blind is None:
                Copies(self.workplace.folder(key)).write_releases(new, stable)
        try:
            with answering():
                self._go_to(places, new, stable, changed)
            yield ClusterTarget(
                environment=self.environment,
                pipeline=self.spec.pipeline,
                key=key,
                release=progress.release,
                places=places,
                records=self._records,
                changed=changed,
                deadline=self.settings.deadline,
                is_rollback=bool(self.settings.release),
                away=self._away,
                answer_again=self._answer_again,
            )
        finally:
            close_all(places)

    def _go_to(self, places: dict[str, Place], new: Kept, stable: Kept | None, changed: threading.Event) -> None:
        """Fill `places` with those that answer, and note the others. Raises ClusterAway if none does."""
        self._away.clear()
        gone: dict[str, ClusterAway] = {self._records.client.cluster.name: self._blind} if self._blind else {}
        labels = selector(self.spec.pipeline, self.environment)
        for name, client in self._clients.items():
            try:
                if client.cluster.name in gone:
                    raise gone[client.cluster.name]
                there = self._layout(stable, name) if stable and stable.release.name != new.release.name else None
                grows = autoscaling.growing(there, self.settings) if there else ()
                places[name] = Place(client, self._layout(new, name), there, labels, changed.set, grows)
                places[name].begin()
            except ClusterAway as away:
                if name in places:
                    places.pop(name).close()
                gone[client.cluster.name] = away
                self._away[name] = str(away)
        if not places:
            raise next(iter(gone.values()))

    def _answer_again(self) -> bool:
        clusters = {self._clients[name].cluster.name: self._clients[name].cluster for name in self._away}
        for cluster in clusters.values():
            client = Client(cluster, patience=0.0, timeout=ANSWERS_WITHIN)
            try:
                client.version()
            except ClusterAway:
                return False
            finally:
                client.close()
        return True

    # --- releases -------------------------------------------------------------------------------------

    def _intend(self, state: State) -> tuple[Kept, Kept | None]:
        """(what shall be brought, what is there). Raises PlanError."""
        if state.pipeline not in ("", self.spec.pipeline):
            raise PlanError(
                f"{self.environment} in {self._records.client.place} is the pipeline {state.pipeline}'s, and this is "
                f"{self.spec.pipeline}. Give its environment another namespace in connections.yaml, or another name."
            )
        stable = self._records.release(state.stable) if state.stable else None
        if self.settings.release:
            kept = self._records.release(self.settings.release)
            if kept is None:
                raise PlanError(
                    f"The release {self.settings.release} of {self.environment} is not kept (any more). Choose one "
                    "of those that the environment's page offers, or run its commit again."
                )
            return kept, stable
        try:
            name = f"{self.spec.pipeline}-{self.spec.run}-{self.spec.commit[:7]}"
            new = self._render(name)
            if stable is not None and stable.release.content == new.release.content:
                # The same content under another name would restart everything for nothing.
                again = self._render(stable.release.name)
                return Kept(replace(stable.release, services=again.release.services), again.objects), stable
            known = self._records.release(name)
            if known is not None and known.release.content != new.release.content:
                new = self._render(f"{name}-{new.release.content[:6]}")
        except ManifestError as error:
            raise PlanError(str(error)) from None
        return new, stable

    def _render(self, name: str) -> Kept:
        return rendering.render(self.workplace, self.spec, self.settings, self.there, self._key, name)

    def _both(self, progress: Progress) -> tuple[Kept, Kept | None]:
        if self._new is None:
            self._new = self._records.release(progress.release.name)
            self._stable = self._records.release(progress.stable) if progress.stable else None
        if self._new is None and progress.position.aborted is not None:
            # The last that a way back does is to forget it: whoever follows has only the rest to tidy up.
            self._new = Kept(progress.release, {})
        if self._new is None:
            raise Refused(f"The record of the release {progress.release.name} is gone from {self.environment}.")
        if progress.stable and self._stable is None:
            raise Refused(f"The record of the release {progress.stable} is gone from {self.environment}.")
        return self._new, self._stable

    def _layout(self, kept: Kept | None, place: str) -> Layout:
        objects = kept.objects.get(place, []) if kept else []
        return shape.layout(kept.release.name if kept else "", objects, gateway=self._gateway(place))

    def _gateway(self, place: str) -> bool:
        if place not in self._routed:
            self._routed[place] = self._clients[place].has(HTTP_ROUTE)
        return self._routed[place]

    def _totals(self, kept: Kept | None, *, live: bool) -> dict[str, int]:
        """Replicas by service and place; `live`: as many as there are now, where an autoscaler or a person may have
        had a say."""
        found = {}
        for place, client in self._clients.items():
            if place in self._away:
                continue
            for service, workload in self._layout(kept, place).workloads.items():
                count = workload.replicas
                if live or count is None:
                    there = client.get(workload.ref) or {}
                    if count is None:
                        # How many there will be is only known once its controller has counted the nodes.
                        count = int((there.get("status") or {}).get("desiredNumberScheduled") or 1)
                    else:
                        count = int(there.get("spec", {}).get("replicas", 0)) or count
                if count:
                    found[key_of(place, service)] = count
        return found

    # --- beginning ------------------------------------------------------------------------------------

    def _check_address(self) -> None:
        if not self.there.url and any(isinstance(step, Verify) for step in self.settings.steps):
            raise PlanError(
                f"with.strategy measures {self.environment}, but connections.yaml does not say where it is reached. "
                f"Add `url` to environments.{self.environment}."
            )

    def _refuse_gone(self, new: Kept) -> None:
        """Raises Refused where a Secret of a kept release is not there any more, for nothing else held its values."""
        for place, client in self._clients.items():
            items = [item for item in new.objects.get(place, []) if is_without_values(item)]
            for item, live in zip(items, present(client, items), strict=True):
                refuse_foreign(client, item, live)

    def _refuse_strangers(self, new: Kept, stable: Kept | None) -> None:
        for place, client in self._clients.items():
            there = self._layout(stable, place) if stable and stable.release.name != new.release.name else None
            refuse_strangers(client, self._layout(new, place), there, self.spec.pipeline, self.environment)


def _same(here: Mapping[str, Layout], there: Mapping[str, Layout]) -> set[str]:
    """The services whose pods are the same in both releases: they are not replaced, so they are not counted."""
    return {
        key_of(place, service)
        for place, layout in here.items()
        for service, workload in layout.workloads.items()
        if (old := there[place].workloads.get(service) if place in there else None) and old.mark == workload.mark
    }


def _as_autoscaled(totals: Mapping[str, int], old: Mapping[str, int], here: Mapping[str, Layout]) -> dict[str, int]:
    """The replicas to begin with of what has an autoscaler: as many as the load needs by now."""
    return {
        key: autoscaling.within(scaler, old.get(key, totals[key]))
        for place, layout in here.items()
        for service, scaler in autoscaling.scalers(layout).items()
        if (key := key_of(place, service)) in totals
    }


def _kinds(layouts: list[tuple[str, Layout]]) -> tuple[frozenset[str], frozenset[str]]:
    """(those that are replaced in their place, those whose traffic is split by the number of replicas)."""
    shared, ratio = set(), set()
    for place, layout in layouts:
        for service, workload in layout.workloads.items():
            if workload.shared:
                shared.add(key_of(place, service))
            elif service not in layout.routed:
                ratio.add(key_of(place, service))
    return frozenset(shared), frozenset(ratio)
