"""The plan: what the server itself says would change, by a dry run of server-side apply against what is there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from pipelines.executors.base import Change
from pipelines.executors.kubernetes.clean import clean
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.drift import Drift, of_conflict
from pipelines.executors.kubernetes.errors import Conflict
from pipelines.executors.kubernetes.names import BASE_NAME, Ref
from pipelines.executors.kubernetes.render import is_without_values
from pipelines.executors.kubernetes.settle import PARALLEL, present, refuse_foreign, settled

_VERBS = {"create": "create", "update": "change", "delete": "delete"}


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """`text` is a unified diff of YAML with secret values as keyed digests. `overrides` is what other people set
    and applying would take from them."""

    ref: Ref
    place: str
    action: Literal["create", "update", "delete"]
    text: str = ""
    overrides: tuple[Drift, ...] = ()

    def as_change(self) -> Change:
        return Change(
            title=f"{_VERBS[self.action]} {self.ref} in {self.place}",
            # Without the time: the same change made twice is the same plan.
            before="; ".join(f"{one.manager} set {one.field} to {one.found}" for one in self.overrides),
            diff=self.text,
        )


def diff(
    client: Client, objects: Iterable[Mapping[str, Any]], *, key: ContentKey, prune: Iterable[Ref] = ()
) -> list[ObjectChange]:
    """What applying `objects` and deleting `prune` would change, in that order; what would stay is left out.

    The same from run to run as long as the cluster and the objects are the same. Changes nothing. Raises Foreign
    where an object of that name is not ours, Refused with the server's sentence, ClusterAway.
    """
    objects = list(objects)
    lives = present(client, objects)
    for item, live in zip(objects, lives, strict=True):
        refuse_foreign(client, item, live)
    pairs = list(zip(settled(client, objects, lives), lives, strict=True))
    with ThreadPoolExecutor(PARALLEL) as pool:
        changes = list(pool.map(lambda pair: _change(client, pair[0], pair[1], key), pairs))
    gone = [ObjectChange(ref, client.place, "delete") for ref in prune]
    return [change for change in changes if change] + gone


def against(
    changes: Iterable[ObjectChange],
    objects: Iterable[Mapping[str, Any]],
    before: Iterable[Mapping[str, Any]],
    key: ContentKey,
) -> list[ObjectChange]:
    """`changes` with each new ConfigMap of `objects` compared with the one of `before` that it takes the place of.

    It has another name because its content is another; what people ask is which values change.
    """
    old = {name: item for item in before if (name := _base_name(item))}
    new = {Ref.of(item): item for item in objects}
    return [
        replace(change, text=_diff(_text(clean(old[name], key)), _text(clean(new[change.ref], key))))
        if change.action == "create" and (name := _base_name(new[change.ref])) in old
        else change
        for change in changes
    ]


def _base_name(item: Mapping[str, Any]) -> str:
    """The name of a ConfigMap in the manifests, where its content named it; else ""."""
    names = item["metadata"].get("annotations") or {}
    return str(names.get(BASE_NAME, "")) if item["kind"] == "ConfigMap" else ""


def _change(client: Client, item: dict[str, Any], live: dict[str, Any] | None, key: ContentKey) -> ObjectChange | None:
    if live is not None and is_without_values(item):
        return None
    overrides: tuple[Drift, ...] = ()
    try:
        result = client.apply(item, dry_run=True)
    except Conflict:
        result = client.apply(item, dry_run=True, force=True)
        overrides = tuple(of_conflict(client, result, live)) if live else ()
    created = live is None
    before = "" if live is None else _text(clean(live, key))
    after = _text(clean(result, key, created=created))
    if before == after and not overrides:
        return None
    return ObjectChange(Ref.of(item), client.place, "create" if created else "update", _diff(before, after), overrides)


def _text(item: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(item), sort_keys=True, default_flow_style=False, allow_unicode=True, width=1000)


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "now", "then", lineterm="")
    return "\n".join(lines) + "\n"
