"""What is kept in the cluster itself: which release an environment has, how far a rollout is, releases to go back to.

Two kinds of ConfigMaps in the environment's first namespace: `burger-stack-ENV` with the state and the progress of the
rollout at work, and `burger-stack-ENV-RELEASE` for each release, with all of its objects; of Secrets without values,
which stay in the cluster under the name of their content. So whoever goes on finds everything here.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import Conflict, Refused
from pipelines.executors.kubernetes.names import ENVIRONMENT, MANAGED_BY, MANAGER, Ref
from pipelines.executors.kubernetes.render import without_values
from pipelines.executors.rollout.kubernetes.shape import Object
from pipelines.executors.rollout.progress import Progress, progress_data, progress_from
from pipelines.executors.rollout.release import Release
from pipelines.executors.rollout.target import SupersededError

RECORD = "burger-stack/record"
KEPT = 10
# Releases were prepared for rollouts that never came to an end, too; these are not offered to go back to.
STAYED = "stayed"


@dataclass(frozen=True, slots=True)
class State:
    """`rollout` is the key of the rollout at work, "" when none is; only it may write. `finished` is the key of the
    one before. `stable` is the release to go back to, `held` the same after a rollback, until it is released.
    `retire` maps a release that is kept beside it to the time (seconds since 1970) until which it is. `progress` is
    that of `rollout`, or of `finished`, as data."""

    rollout: str = ""
    finished: str = ""
    stable: str = ""
    pipeline: str = ""
    retire: Mapping[str, float] = field(default_factory=dict)
    held: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    def data(self) -> dict[str, str]:
        values = asdict(self)
        return {name: json.dumps(values[name], sort_keys=True) for name in values if name != "version"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A release as it was rolled out: `objects` by place."""

    release: Release
    objects: Mapping[str, list[Object]]


class Records:
    """The records of one environment."""

    def __init__(self, client: Client, environment: str) -> None:
        self.client, self.environment = client, environment
        self._ref = Ref("ConfigMap", f"burger-stack-{environment}", namespace=client.namespace)
        self._state: State | None = None

    # --- the environment ------------------------------------------------------------------------------

    def read(self) -> State:
        """As it is in the cluster now."""
        found = self.client.get(self._ref)
        if found is None:
            self._state = State()
        else:
            values = self._values(found.get("data") or {})
            known = {name: values[name] for name in State.__dataclass_fields__ if name in values}
            self._state = State(**{**known, "version": found["metadata"]["resourceVersion"]})
        return self._state

    def _values(self, data: Mapping[str, str]) -> dict[str, Any]:
        try:
            return {name: json.loads(text) for name, text in data.items()}
        except ValueError as error:
            raise Refused(
                f"{self.client.place}: {self._ref}, the record of {self.environment}, cannot be read ({error}). Put it "
                "back as it was; without it the next rollout takes the environment for a new one."
            ) from None

    def take(self, key: str, pipeline: str) -> State:
        """Make the environment this rollout's. Whoever drove another one finds out with its next write."""
        while True:
            state = self.read()
            if state.rollout == key:
                return state
            try:
                return self._put(replace(state, rollout=key, pipeline=pipeline, progress={}))
            except Conflict:
                # Somebody else wrote, or what we wrote ourselves was not answered.
                continue

    def write(self, key: str, **changes: Any) -> State:
        """Raises SupersededError when the environment belongs to another rollout by now."""
        state = self._state or self.read()
        while True:
            # A worker that died between the last write and its own note of it comes here again.
            if state.rollout != key and not (not state.rollout and state.finished == key):
                raise SupersededError(f"The rollout {state.rollout or '(none)'} has {self.environment} now.")
            try:
                return self._put(replace(state, **changes))
            except Conflict:
                state = self.read()

    def progress(self, key: str) -> Progress | None:
        state = self.read()
        mine = key in (state.rollout, state.finished if not state.rollout else "")
        return progress_from(json.loads(json.dumps(state.progress))) if mine and state.progress else None

    def write_progress(self, key: str, progress: Progress) -> None:
        self.write(key, progress=progress_data(progress))

    def _put(self, state: State) -> State:
        body = _config_map(self._ref, self.environment, "environment", data=state.data())
        if state.version:
            body["metadata"]["resourceVersion"] = state.version
            answer = self.client.patch(self._ref, body)
        else:
            answer = self.client.create(body)
        self._state = replace(state, version=answer["metadata"]["resourceVersion"])
        return self._state

    # --- releases -------------------------------------------------------------------------------------

    def release(self, name: str) -> Kept | None:
        """None where it is not kept (any more)."""
        found = self.client.get(self._release_ref(name))
        return _kept(found) if found else None

    def releases(self) -> list[tuple[Release, bool]]:
        """(release, whether it stayed), the latest rolled out first."""
        found = [(_release(item), _stayed(item)) for item in self._all()]
        return sorted(found, key=lambda one: one[0].when, reverse=True)

    def everything(self) -> list[Kept]:
        """All releases whose objects are written down."""
        return [_kept(item) for item in self._all()]

    def prepare(self, release: Release, objects: Mapping[str, list[Object]]) -> None:
        """Write down what a rollout is about to bring, before it does."""
        ref = self._release_ref(release.name)
        packed = {place: without_values(items) for place, items in objects.items()}
        self.client.apply(
            _config_map(
                ref,
                self.environment,
                "release",
                data={"release": json.dumps(release.as_dict(), sort_keys=True)},
                binary={"objects": _pack(packed)},
            ),
            force=True,
        )

    def keep(self, release: Release) -> None:
        """It stayed: it can be gone back to from now on. The oldest beyond KEPT are forgotten."""
        text = json.dumps({**release.as_dict(), "when": release.when or time.time()}, sort_keys=True)
        body = {"metadata": {"annotations": {STAYED: "yes"}}, "data": {"release": text}}
        self.client.patch(self._release_ref(release.name), body)

    def forget(self, needed: Iterable[str]) -> list[Kept]:
        """Drop what is neither needed nor among the last KEPT that stayed; returns those that are left."""
        items = sorted(self._all(), key=lambda item: _release(item).when, reverse=True)
        stayed = [item for item in items if _stayed(item)][:KEPT]
        left = {item["metadata"]["name"] for item in stayed} | {self._release_ref(name).name for name in needed}
        for item in items:
            if item["metadata"]["name"] not in left:
                self.client.delete(Ref.of(item), uid=item["metadata"]["uid"])
        return [_kept(item) for item in items if item["metadata"]["name"] in left]

    def _all(self) -> list[Object]:
        labels = f"{RECORD}=release,{ENVIRONMENT}={self.environment}"
        return self.client.list("ConfigMap", labels=labels)

    def _release_ref(self, name: str) -> Ref:
        return Ref("ConfigMap", f"burger-stack-{self.environment}-{name}"[:253], namespace=self.client.namespace)


def _config_map(
    ref: Ref, environment: str, what: str, *, data: Mapping[str, str], binary: Mapping[str, str] | None = None
) -> Object:
    """Without the label of a pipeline: pruning is not to see it."""
    item: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": {MANAGED_BY: MANAGER, ENVIRONMENT: environment, RECORD: what},
        },
        "data": dict(data),
    }
    return {**item, "binaryData": dict(binary)} if binary else item


def _pack(objects: Mapping[str, list[Object]]) -> str:
    return base64.b64encode(gzip.compress(json.dumps(objects, sort_keys=True).encode(), mtime=0)).decode()


def _kept(item: Object) -> Kept:
    packed = base64.b64decode((item.get("binaryData") or {}).get("objects", ""))
    return Kept(_release(item), json.loads(gzip.decompress(packed)) if packed else {})


def _release(item: Object) -> Release:
    return Release.from_dict(json.loads(item["data"]["release"]))


def _stayed(item: Object) -> bool:
    return (item["metadata"].get("annotations") or {}).get(STAYED) == "yes"
