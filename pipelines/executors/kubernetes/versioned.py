"""Configuration that is versioned with its release: a ConfigMap or Secret is named by its content and never changed.

So a release names exactly the configuration that it was tested with, and going back to it brings that back too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.content import ContentKey, plain_digest
from pipelines.executors.kubernetes.names import BASE_NAME, FIXED, NAMING, Ref

DIGITS = 10
CONFIGURATION = ("ConfigMap", "Secret")

Rename = Callable[[str, str], str]


def name_by_content(objects: Iterable[dict[str, Any]], key: ContentKey) -> list[dict[str, Any]]:
    """The objects with ConfigMaps, Secrets and then Jobs named NAME-DIGEST, and every reference to them rewritten.

    Configuration becomes immutable. The annotation `burger-stack/name: fixed` opts out. Changes the objects that it
    is given. A Job's name covers its pods' images and configuration, not the release's name.
    """
    objects = list(objects)
    names: dict[tuple[str, str], str] = {}
    for item in objects:
        if item["kind"] in CONFIGURATION and not _fixed(item):
            known_as = (item["kind"], item["metadata"]["name"])
            names[known_as] = _rename(item, _content(item, key))
            item["immutable"] = True
    for item in objects:
        for _ in references(item, lambda kind, name: names.get((kind, name), name)):
            pass
    for item in objects:
        if item["kind"] == "Job" and not _fixed(item):
            _rename(item, plain_digest(item["spec"]))
    return objects


def configuration(objects: Iterable[Mapping[str, Any]]) -> set[Ref]:
    """The ConfigMaps and Secrets that pods of these objects refer to; ReplicaSets and the like count too."""
    return {Ref(kind, name) for item in objects for kind, name in references(item)}


def references(item: Mapping[str, Any], rename: Rename | None = None) -> Iterator[tuple[str, str]]:
    """(kind, name) of each ConfigMap and Secret that an object's pods read; `rename` says what it shall be.

    `imagePullSecrets` do not count: they belong to the namespace, not to the release.
    """
    pod = (kinds.template_of(item) or {}).get("spec") or {}
    for holder, field, kind in _holders(pod):
        name = holder.get(field)
        if isinstance(name, str) and name:
            if rename is not None:
                holder[field] = rename(kind, name)
            yield kind, name


def _holders(pod: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """(mapping, its key that holds a name, kind that is named) for every reference of a pod."""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(part) or ():
            for source in container.get("envFrom") or ():
                yield from _named(source, ("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
            for variable in container.get("env") or ():
                value = variable.get("valueFrom") or {}
                yield from _named(value, ("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))
    for volume in pod.get("volumes") or ():
        yield from _named(volume, ("configMap", "ConfigMap"))
        if isinstance(volume.get("secret"), dict):
            yield volume["secret"], "secretName", "Secret"
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _named(source, ("configMap", "ConfigMap"), ("secret", "Secret"))


def _named(source: Mapping[str, Any], *wanted: tuple[str, str]) -> Iterator[tuple[dict[str, Any], str, str]]:
    for field, kind in wanted:
        if isinstance(source.get(field), dict):
            yield source[field], "name", kind


def _content(item: Mapping[str, Any], key: ContentKey) -> str:
    content = {part: item.get(part) for part in ("type", "data", "binaryData") if item.get(part)}
    return key.digest(content) if item["kind"] == "Secret" else plain_digest(content)


def _rename(item: dict[str, Any], digest: str) -> str:
    metadata = item["metadata"]
    metadata.setdefault("annotations", {})[BASE_NAME] = metadata["name"]
    metadata["name"] = f"{metadata['name']}-{digest[:DIGITS]}"
    return str(metadata["name"])


def _fixed(item: Mapping[str, Any]) -> bool:
    return (item["metadata"].get("annotations") or {}).get(NAMING) == FIXED
