"""The one door to a cluster's API.

Each call waits out what passes by itself: a connection refused or cut, 5xx, 429 (as long as the server asks for), a
409 that only means that somebody else wrote at the same moment. What is still so after `patience` seconds is
`ClusterAway`. What the server refuses is `Refused`, in its own words, at once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.discovery import Discovery
from pipelines.executors.kubernetes.errors import ClusterAway, Conflict, Refused, Stopped, refusal
from pipelines.executors.kubernetes.kinds import Kind
from pipelines.executors.kubernetes.names import MANAGER, Ref, is_own
from pipelines.executors.kubernetes.transport import Transport, Unreachable
from pipelines.executors.kubernetes.watching import Event, Watcher

Object = dict[str, Any]
Objects = list[Object]

# 500 is also what an API server says whose etcd is away.
BUSY = frozenset({429, 500, 502, 503, 504})
PAGE = 500
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
APPLY = "application/apply-patch+yaml"


class Backoff:
    """How long to wait until the next try: 0.05 s doubled up to 2 s, or what the server asks for."""

    def __init__(self, patience: float, stopping: Callable[[], bool]) -> None:
        self._until = time.monotonic() + patience
        self._stopping = stopping
        self._next = 0.05

    def pause(self, why: str, asked: float | None = None) -> None:
        """Wait; raise ClusterAway(why) if there is no patience left for that, Stopped if the work shall end."""
        wait = asked if asked is not None else self._next * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        self._next = min(self._next * 2, 2.0)
        end = time.monotonic() + wait
        if end > self._until:
            raise ClusterAway(why, asked)
        while (left := end - time.monotonic()) > 0:
            if self._stopping():
                raise Stopped(f"Told to stop while waiting for the cluster: {why}")
            time.sleep(min(left, 0.1))


class Client:
    """One cluster, and the `namespace` that calls mean which name none. Thread-safe.

    `patience` is how long a call may take with its retries, `timeout` how long the server may take for one answer,
    both in seconds. `stopping` is asked while waiting.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str = "",
        *,
        patience: float = 10.0,
        timeout: float = 10.0,
        stopping: Callable[[], bool] = lambda: False,
        address: str | None = None,
    ) -> None:
        self.cluster, self.namespace, self.patience = cluster, namespace, patience
        self._stopping = stopping
        self._transport = Transport(cluster, timeout, address)
        self._discovery = Discovery(self)

    @property
    def place(self) -> str:
        """ "cluster/namespace", as people are told."""
        return f"{self.cluster.name}/{self.namespace}"

    @property
    def server(self) -> str:
        return self._transport.server

    def backoff(self) -> Backoff:
        return Backoff(self.patience, self._stopping)

    # --- reading --------------------------------------------------------------------------------------

    def get(self, what: Ref | str, name: str = "", namespace: str | None = None) -> Object | None:
        """The object, None where there is none. `what` is a Ref, or a kind and then `name`."""
        kind, name, namespace = self._place(what, name, namespace)
        try:
            return self.raw("GET", self._path(kind, name, namespace), what=f"{kind.name}/{name}")
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def list_at(
        self, kind: str, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """The objects, and the resourceVersion at which they were so. Read in pages; from anew if a page expires."""
        found = self._discovery.kind(kind)
        path = self._path(found, "", self.namespace if namespace is None else namespace)
        selection = {"labelSelector": labels, "fieldSelector": fields}
        query: dict[str, Any] = {name: value for name, value in selection.items() if value} | {"limit": PAGE}
        items: Objects = []
        while True:
            try:
                page = self.raw("GET", path, query, what=f"list {found.plural}")
            except Refused as refused:
                if refused.code != 410:
                    raise
                items, query = [], {name: value for name, value in query.items() if name != "continue"}
                continue
            # A list names the kind once, for all of its items.
            items += [{"apiVersion": found.api_version, "kind": found.name, **item} for item in page["items"]]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query = query | {"continue": metadata["continue"]}

    def list(self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "") -> Objects:
        """All objects of a kind ("Deployment", "apps/v1/Deployment"). Refused(404) if the server has no such kind."""
        return self.list_at(kind, namespace, labels, fields)[0]

    def watch(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = "", tick: float = 1.0
    ) -> Iterator[Event | None]:
        """What is there as ADDED events, one SYNCED, then every change; None after each `tick` seconds of silence.

        Expired versions and cut connections are made good: what vanished meanwhile comes as DELETED. Raises
        ClusterAway after `patience` without contact. Wrap it in `contextlib.closing`.
        """
        return Watcher(self, kind, self.namespace if namespace is None else namespace, labels, fields).events(tick)

    def log(self, pod: str, container: str = "", *, lines: int = 50, previous: bool = False, limit: int = 0) -> str:
        """The end of a container's log; with `limit`, its first bytes instead."""
        query: dict[str, Any] = {"limitBytes": limit} if limit else {"tailLines": lines}
        query |= {"previous": str(previous).lower()}
        query |= {"container": container} if container else {}
        path = self._path(self._discovery.kind("Pod"), pod, self.namespace, "log")
        return self._answer("GET", path, query, None, "application/json", f"log of Pod/{pod}").decode(
            "utf-8", "replace"
        )

    def version(self) -> str:
        """The server's version ("v1.34.2")."""
        return str(self.raw("GET", "/version", what="version")["gitVersion"])

    def has(self, kind: str) -> bool:
        """Whether the server serves a kind, now."""
        return self._discovery.has(kind)

    # --- writing --------------------------------------------------------------------------------------

    def apply(self, item: Object, *, dry_run: bool = False, force: bool = False, manager: str = MANAGER) -> Object:
        """Server-side apply. Raises Conflict, which names field and manager, where somebody else owns a field of
        it, unless `force`."""
        kind, name, namespace = self._place(Ref.of(item), "", None, item)
        query = {"fieldManager": manager, "force": str(force).lower()} | ({"dryRun": "All"} if dry_run else {})
        path, what = self._path(kind, name, namespace), f"apply {kind.name}/{name}"
        try:
            return self._insist("PATCH", path, query, item, APPLY, what)
        except Conflict as conflict:
            # What we patched or updated, the server takes for somebody else's when we apply.
            if not conflict.fields or any(not is_own(one.manager) for one in conflict.fields):
                raise
            return self._insist("PATCH", path, query | {"force": "true"}, item, APPLY, what)

    def patch(
        self,
        ref: Ref,
        body: Any,
        *,
        how: str = "merge",
        subresource: str = "",
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Object:
        """`how` is merge, strategic or json."""
        kind, name, namespace = self._place(ref, "", None)
        query = {"fieldManager": manager} | ({"dryRun": "All"} if dry_run else {})
        path = self._path(kind, name, namespace, subresource)
        # With a version in it the caller wants to know that somebody else was faster.
        versioned = isinstance(body, Mapping) and "resourceVersion" in (body.get("metadata") or {})
        send = self.raw if versioned else self._insist
        return send("PATCH", path, query, body, _PATCHES[how], f"patch {ref}")

    def create(self, item: Object, *, manager: str = MANAGER) -> Object:
        """Raises Conflict with the reason AlreadyExists if there is one of that name."""
        kind, _, namespace = self._place(Ref.of(item), "", None, item)
        path = self._path(kind, "", namespace)
        return self.raw("POST", path, {"fieldManager": manager}, item, what=f"create {Ref.of(item)}")

    def delete(self, ref: Ref, *, uid: str = "", propagation: str = "Background", grace: int | None = None) -> bool:
        """False if it was not there, or is another object of that name by now (`uid`). `grace` is in seconds."""
        kind, name, namespace = self._place(ref, "", None)
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        body |= {"gracePeriodSeconds": grace} if grace is not None else {}
        backoff = self.backoff()
        while True:
            try:
                self.raw("DELETE", self._path(kind, name, namespace), None, body, what=f"delete {ref}")
            except Conflict as conflict:
                # Another object of that name, or somebody else wrote at the same moment: only the object knows.
                live = self.get(ref)
                if live is None or (uid and live["metadata"]["uid"] != uid):
                    return False
                backoff.pause(str(conflict))
            except Refused as refused:
                if refused.code == 404:
                    return False
                raise
            else:
                return True

    # --- the wire -------------------------------------------------------------------------------------

    def raw(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        what: str = "",
    ) -> Object:
        """One request, with patience, answered in JSON. Raises ClusterAway, Refused, Conflict, Stopped."""
        return json.loads(self._answer(method, path, query, body, content_type, what) or b"{}")

    def open_watch(self, kind: str, namespace: str, query: Mapping[str, Any], timeout: float) -> Any:
        """A stream of events, lines of JSON; one try. Raises Unreachable, Refused."""
        path = self._path(self._discovery.kind(kind), "", namespace)
        reply = self._transport.send("GET", path, {**query, "watch": "true"}, stream=True, timeout=timeout)
        if reply.status == 200:
            return reply
        with reply:
            raise refusal(reply.status, _status(reply.read(64 * 1024)), f"watch {kind}")

    def close(self) -> None:
        self._transport.close()

    def _answer(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any, content_type: str, what: str
    ) -> bytes:
        backoff, renewed = self.backoff(), False
        what = what if what.partition(" ")[1] else f"{method.lower()} {what or path}"
        while True:
            try:
                reply = self._transport.send(method, path, query, body, content_type)
            except Unreachable as error:
                backoff.pause(f"The cluster {self.cluster.name} ({self.server}) does not answer: {error}.")
                continue
            if reply.status < 400:
                return reply.data
            status = _status(reply.data)
            if reply.status in BUSY:
                said = status.get("message") or f"HTTP {reply.status}"
                why = f"The cluster {self.cluster.name} is not able to answer {what}: {said}."
                backoff.pause(why, _retry_after(reply.headers.get("Retry-After")))
            elif reply.status == 401 and not renewed:
                renewed = True
                self._transport.renew()
            else:
                raise refusal(reply.status, status, f"{self.cluster.name}: {what}")

    def _insist(
        self, method: str, path: str, query: Mapping[str, Any], body: Any, content_type: str, what: str
    ) -> Object:
        """A request that says all it wants, so that a 409 without a field's owner only means: say it again."""
        backoff = self.backoff()
        while True:
            try:
                return self.raw(method, path, query, body, content_type, what)
            except Conflict as conflict:
                if conflict.fields:
                    raise
                backoff.pause(str(conflict))

    def _place(
        self, what: Ref | str, name: str, namespace: str | None, item: Object | None = None
    ) -> tuple[Kind, str, str]:
        if isinstance(what, str):
            return self._discovery.kind(what), name, self.namespace if namespace is None else namespace
        if item is not None:
            kind = self._discovery.kind(f"{item['apiVersion']}/{what.kind}")
        else:
            kind = kinds.KINDS.get((what.group, what.kind)) or self._discovery.kind(what.kind)
        return kind, what.name, what.namespace or self.namespace

    def _path(self, kind: Kind, name: str, namespace: str, subresource: str = "") -> str:
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespace and kind.namespaced else ""
        parts = [kind.plural, *(quote(part, safe="") for part in (name, subresource) if part)]
        return f"{root}{inside}/{'/'.join(parts)}"


def _status(data: bytes) -> Mapping[str, Any]:
    """The `Status` in an answer; what a proxy in between says instead is cut short."""
    try:
        status = json.loads(data)
    except ValueError:
        return {"message": " ".join(data.decode("utf-8", "replace").split())[:200]}
    return status if isinstance(status, dict) else {}


def _retry_after(value: str | None) -> float | None:
    return float(value) if value and value.isdigit() else None
