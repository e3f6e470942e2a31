"""New configuration is compared with what it takes the place of."""

from __future__ import annotations

from typing import Any

from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.diff import ObjectChange, against
from pipelines.executors.kubernetes.names import Ref

KEY = ContentKey(b"k" * 32)


def configuration(name: str, kind: str = "ConfigMap", base: str = "shop", **data: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "north", "annotations": {"burger-stack/base-name": base}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}


def created(item: dict[str, Any]) -> ObjectChange:
    return ObjectChange(Ref.of(item), "main/north", "create", "+everything\n")


def test_of_the_next_version_only_what_is_other_is_shown():
    old, new = configuration("shop-1", NAME="a", SAME="s"), configuration("shop-2", NAME="b", SAME="s")
    (change,) = against([created(new)], [new], [old], KEY)
    lines = [line for line in change.text.splitlines() if line[:1] in "+-"]
    assert lines[2:] == ["-  NAME: a", "+  NAME: b", "-  name: shop-1", "+  name: shop-2"]


def test_what_takes_no_place_and_secrets_stay_as_they_are():
    new = [configuration("other-1", base="other"), configuration("shop-2", "Secret", NAME="eA==")]
    changes = [*map(created, new), ObjectChange(Ref.of(configuration("gone")), "main/north", "delete")]
    assert against(changes, new, [configuration("shop-1"), configuration("shop-1", "Secret")], KEY) == changes
