"""Who gets the traffic in one namespace: selectors of Services, and weights of HTTPRoutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.rollout.kubernetes import shape
from pipelines.executors.rollout.kubernetes.shape import Layout, Object

GATEWAY = "gateway.networking.k8s.io"
# A router that does not say whether it has taken a route in is believed to have after so many seconds.
BELIEVED_AFTER = 2.0
# Every ready pod gets the same.
EVENLY: Final[Mapping[str, int]] = {"(evenly)": 100}


class Traffic:
    """`layouts` are the release that comes and, after it, the one that is there. Each Service and route carries in an
    annotation which weights it is made for, so that a worker after this one knows."""

    def __init__(self, client: Client, layouts: Sequence[Layout]) -> None:
        self.client, self.layouts = client, layouts
        self._carried: dict[Ref, str | None] = {}
        self._moved_at = 0.0
        self._commanded: Mapping[str, int] | None = {}
        self._made = False

    @property
    def is_routed(self) -> bool:
        return any(layout.routes for layout in self.layouts)

    def begin(self) -> None:
        """Read how it is."""
        pinned = {name for layout in self.layouts for name in layout.pinned}
        routes = {route["metadata"]["name"] for layout in self.layouts for route in layout.routes}
        refs = [Ref("Service", name) for name in sorted(pinned)]
        refs += [Ref("HTTPRoute", name, GATEWAY) for name in sorted(routes)]
        for ref in refs:
            self._carried[ref] = _carries(self.client.get(ref))

    def weights(self) -> Mapping[str, int] | None:
        """As in force; EVENLY, or None while they are on their way."""
        if not self._carried:
            return EVENLY if self._commanded is None else self._commanded
        texts = set(self._carried.values())
        if len(texts) > 1 or None in texts or not self._taken_in():
            return None
        text = texts.pop()
        return json.loads(text) if text else EVENLY

    def move(self, weights: Mapping[str, int] | None, leads: Callable[[Mapping[str, int]], bool]) -> bool:
        """Towards these weights; True if something was written. `leads` tells whether a route may be moved yet."""
        text = shape.EVENLY if weights is None else shape.weights_text(weights)
        self._commanded = weights
        self._make()
        shares = weights or {}
        late = [ref for ref, carried in self._carried.items() if carried != text]
        if not late or (self.is_routed and not leads(shares)):
            return False
        for ref in late:
            item = self._service(ref, shares) if ref.kind == "Service" else self._route(ref, shares)
            if item is None:
                continue
            notes = item["metadata"].get("annotations") or {}
            item["metadata"]["annotations"] = {**notes, shape.WEIGHTS: text}
            self.client.apply(item, force=True)
            self._carried[ref] = text
        self._moved_at = time.monotonic()
        return True

    def _make(self) -> None:
        """Services that are not there yet, and of each release its own where a route gives it a weight."""
        if self._made:
            return
        for item in self.layouts[0].services:
            if self.client.get(Ref.of(item)) is None:
                self.client.apply(item)
        for layout in self.layouts:
            for item in layout.services:
                name = item["metadata"]["name"]
                if layout.pinned.get(name) in layout.routed:
                    self.client.apply(shape.release_service(item, layout.mark(name)), force=True)
        self._made = True

    def _taken_in(self) -> bool:
        """Whether routers say that they have taken in the routes as they are now."""
        if not self.is_routed or time.monotonic() - self._moved_at > BELIEVED_AFTER:
            return True
        routes = [self.client.get(ref) for ref in self._carried if ref.kind == "HTTPRoute"]
        return all(route is None or _accepted(route) for route in routes)

    def _service(self, ref: Ref, shares: Mapping[str, int]) -> Object | None:
        item = _named(ref, (one for layout in self.layouts for one in layout.services))
        whole = [release for release, weight in shares.items() if weight == 100]
        mark = self._mark(whole[0], ref.name) if whole else ""
        return shape.service(item, mark, None) if item else None

    def _route(self, ref: Ref, shares: Mapping[str, int]) -> Object | None:
        item = _named(ref, (one for layout in self.layouts for one in layout.routes))
        if item is None:
            return None
        split: dict[str, list[tuple[str, int]]] = {}
        for name in {name for layout in self.layouts for name in layout.pinned}:
            weights: dict[str, int] = {}
            for release, weight in shares.items():
                if mark := self._mark(release, name):
                    weights[mark] = weights.get(mark, 0) + weight
            split[name] = [(shape.beside(name, mark), weight) for mark, weight in weights.items()]
        chosen = {layout.release: _own(layout) for layout in self.layouts} if len(self.layouts) > 1 else None
        return shape.route(item, split, chosen if shares else None)

    def _mark(self, release: str, service: str) -> str:
        return next((layout.mark(service) for layout in self.layouts if layout.release == release), "")


def _named(ref: Ref, items: Iterable[Object]) -> Object | None:
    return next((item for item in items if item["metadata"]["name"] == ref.name), None)


def _own(layout: Layout) -> dict[str, str]:
    """Service to the one that leads to this release alone."""
    return {
        name: shape.beside(name, layout.mark(name))
        for name, workload in layout.pinned.items()
        if workload in layout.routed
    }


def _carries(item: Object | None) -> str | None:
    """The weights that a Service or route carries, None if it does not say."""
    return ((item or {}).get("metadata", {}).get("annotations") or {}).get(shape.WEIGHTS) if item else None


def _accepted(route: Object) -> bool:
    """Whether every router that answers for a route has seen it as it is now; one that none has seen is not."""
    parents = (route.get("status") or {}).get("parents") or ()
    generation = route["metadata"].get("generation")
    conditions = [one for parent in parents for one in parent.get("conditions") or ()]
    return bool(conditions) and all(one.get("observedGeneration", generation) == generation for one in conditions)
