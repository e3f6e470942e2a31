"""An object as people are shown it, and as two of them can be compared: without what the server writes, and without
secret values; pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.names import RELEASE

_METADATA = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
)
# What the server makes up anew for each try at creating an object.
_DRAWN = {"Service": ("clusterIP", "clusterIPs", "healthCheckNodePort"), "PersistentVolumeClaim": ("volumeName",)}
_JOB_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid", "batch.kubernetes.io/job-name", "job-name")


def clean(source: Mapping[str, Any], key: ContentKey, *, created: bool = False) -> dict[str, Any]:
    """A copy without managed fields, versions, times and status, and with digests instead of secret values.

    The label that names the release is left out too: it changes on every object of every release. With `created`,
    also without what the server draws for an object that is not there yet.
    """
    item = copy.deepcopy(dict(source))
    item.pop("status", None)
    metadata = item["metadata"]
    for name in _METADATA:
        metadata.pop(name, None)
    _drop(metadata, "annotations", _ANNOTATIONS)
    _drop(metadata, "labels", (RELEASE,))
    template = kinds.template_of(item)
    if template is not None:
        (template.get("metadata") or {}).pop("creationTimestamp", None)
    if item["kind"] == "Secret":
        item["data"] = {
            name: f"(secret, content {key.digest([name, value])})" for name, value in (item.get("data") or {}).items()
        }
    if created:
        _without_drawn(item, template)
    return item


def _without_drawn(item: dict[str, Any], template: dict[str, Any] | None) -> None:
    spec = item.get("spec") or {}
    drawn = () if item["kind"] == "Service" and spec.get("clusterIP") == "None" else _DRAWN.get(item["kind"], ())
    for name in drawn:
        spec.pop(name, None)
    if item["kind"] == "Service":
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if item["kind"] == "Job":
        spec.pop("selector", None)
        _drop(item["metadata"], "labels", _JOB_LABELS)
        _drop((template or {}).get("metadata") or {}, "labels", _JOB_LABELS)


def _drop(holder: dict[str, Any], part: str, names: tuple[str, ...]) -> None:
    found = holder.get(part) or {}
    for name in names:
        found.pop(name, None)
    if part in holder and not found:
        del holder[part]
