"""How things are called: our field manager, our labels, and a name for an object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MANAGER = "burger-stack"
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
RELEASE = "burger-stack/release"
ENVIRONMENT = "burger-stack/environment"
# On pods: a hash of their template, the release's name left out. Two releases with the same one run the same pods.
CONTENT = "burger-stack/content"
# Annotations.
RESTART = "burger-stack/restart"
WHEN_CHANGED = "when-changed"
NAMING = "burger-stack/name"
# How long a pod that ends goes on answering, "5s".
DRAIN = "burger-stack/drain"
FIXED = "fixed"
# The name that a versioned object has in its manifest.
BASE_NAME = "burger-stack/base-name"

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object; `group` is "" for the core API, `namespace` "" for the one that the client works in."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Ref:
        group, slash, _ = str(item.get("apiVersion", "")).partition("/")
        metadata = item.get("metadata") or {}
        return cls(str(item["kind"]), metadata.get("name", ""), group if slash else "", metadata.get("namespace", ""))

    def inside(self, namespace: str) -> Ref:
        return replace(self, namespace=namespace)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def labels(pipeline: str, environment: str) -> dict[str, str]:
    """What every object of a pipeline in an environment carries."""
    return {MANAGED_BY: MANAGER, PART_OF: pipeline, ENVIRONMENT: environment}


def selector(pipeline: str, environment: str, **more: str) -> str:
    """The label selector of what is ours; `more` are further labels by their short names (component, release)."""
    short = {"component": COMPONENT, "release": RELEASE, "content": CONTENT}
    wanted = labels(pipeline, environment) | {short[name]: value for name, value in more.items()}
    return ",".join(f"{name}={value}" for name, value in sorted(wanted.items()))


def is_own(manager: str) -> bool:
    """Whether a field manager is this program: `burger-stack` itself, or one of its parts, `burger-stack-...`."""
    return manager == MANAGER or manager.startswith(f"{MANAGER}-")


def is_label(value: str) -> bool:
    """Whether the server would take `value` as a label's value."""
    return _LABEL.fullmatch(value) is not None


def ours(item: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether an object carries all of the labels `wanted`, as `labels` makes them."""
    found = (item.get("metadata") or {}).get("labels") or {}
    return all(found.get(name) == value for name, value in wanted.items())
