"""What a manifest may not hold: more than its namespace, what was not approved, what belongs to the nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.definition.durations import DurationError, parse_duration
from pipelines.executors.kubernetes import kinds, placeholders
from pipelines.executors.kubernetes.documents import Document, Path_, walk
from pipelines.executors.kubernetes.names import DRAIN, MANAGER, NAMING, RESTART, WHEN_CHANGED

# What only somebody who operates a cluster may allow, by name.
ALLOWABLE = frozenset(
    {"hostPath", "hostNetwork", "hostPID", "hostIPC", "hostPort", "privileged", "capabilities", "externalIPs"}
)
COMPONENT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PINNED = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
# A name by content is this one, a dash and 10 digits; Jobs and their pods have at most 63 characters.
LONGEST_NAME = 52


def problems(document: Document, allow: frozenset[str], *, overlay: bool = False) -> Iterator[str]:
    """Each problem as "FILE:LINE: sentence". An overlay may leave out what its base says."""
    data = document.data
    yield from _head(document, overlay)
    kind = str(data.get("kind", ""))
    for path, text in walk(data):
        yield from _placeholder(document, path, text, kind)
    if kind == "Secret":
        yield from _secret(document, overlay)
    spec = data.get("spec")
    if kind == "Service" and isinstance(spec, Mapping) and spec.get("externalIPs") and "externalIPs" not in allow:
        yield f"{document.at('spec', 'externalIPs')}: {_needs_leave('externalIPs', 'draws traffic of other people')}"
    outer = kinds.TEMPLATES.get(kind)
    if outer and (template := kinds.template_of(data)) is not None:
        pod = template.get("spec")
        yield from _pod(document, (*outer, "spec"), pod if isinstance(pod, Mapping) else {}, allow)


def _head(document: Document, overlay: bool) -> Iterator[str]:
    data = document.data
    kind, version = str(data.get("kind", "")), str(data.get("apiVersion", ""))
    named = kinds.of(data) if version or not overlay else kinds.named(kind)
    if named is None or named.phase is None:
        possible = ", ".join(f"{one.api_version}/{one.name}" for one in kinds.APPLIED)
        yield (
            f"{document.at('kind')}: {version or '(no apiVersion)'}/{kind or '(no kind)'} cannot be part of a release: "
            f"it is of the whole cluster, gives rights, or is unknown. Possible are {possible}."
        )
    elif version and version != named.api_version:
        yield f"{document.at('apiVersion')}: {kind} is of {version}, expected {named.api_version}."
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        yield (
            f"{document.at('metadata', 'name')}: the name is {name!r}; expected at most {LONGEST_NAME} small letters, "
            "digits and dashes."
        )
    if metadata.get("namespace") not in (None, "${namespace}"):
        yield (
            f"{document.at('metadata', 'namespace')}: the namespace is {metadata['namespace']!r}; leave it out: where "
            "an environment is stands in connections.yaml."
        )
    yield from _annotations(document, metadata.get("annotations"))


def _annotations(document: Document, annotations: Any) -> Iterator[str]:
    expected = {RESTART: WHEN_CHANGED, NAMING: "fixed"}
    for key, value in annotations.items() if isinstance(annotations, Mapping) else ():
        if key == DRAIN:
            yield from _drain(document, value)
        elif str(key).startswith("burger-stack/") and value != expected.get(key):
            known = " and ".join(f"{name}: {one}" for name, one in expected.items())
            yield f"{document.at('metadata', 'annotations', key)}: {key}: {value} is unknown; possible are {known}."


def _drain(document: Document, value: Any) -> Iterator[str]:
    try:
        parse_duration(str(value))
    except DurationError as error:
        yield f"{document.at('metadata', 'annotations', DRAIN)}: {DRAIN}: {error}."


def _placeholder(document: Document, path: Path_, text: str, kind: str) -> Iterator[str]:
    for name in placeholders.names(text):
        where = document.at(*path)
        if not placeholders.is_known(name):
            yield f"{where}: ${{{name}}} is unknown; possible are {placeholders.KNOWN}. Write $${{ for a plain ${{."
        elif name.startswith(placeholders.SECRET) and (kind != "Secret" or path[0] != "stringData"):
            yield f"{where}: ${{{name}}} stands outside of a Secret's stringData, where everybody could read it."
    if path[:2] == ("metadata", "name") and list(placeholders.names(text)):
        yield f"{document.at(*path)}: a name may hold no placeholder."


def _secret(document: Document, overlay: bool) -> Iterator[str]:
    for part in ("data", "binaryData"):
        if document.data.get(part):
            where = document.at(part)
            yield f"{where}: a Secret in a repository holds no values; use stringData with ${{secret:NAME}}."
    values = document.data.get("stringData")
    if not isinstance(values, Mapping) or not values:
        if not overlay:
            yield f"{document.at()}: the Secret has no stringData; give it at least one KEY: ${{secret:NAME}}."
        return
    for key, value in values.items():
        found = placeholders.names(value) if isinstance(value, str) else ()
        if value is not None and not any(name.startswith(placeholders.SECRET) for name in found):
            yield (
                f"{document.at('stringData', key)}: {key} holds a value; expected a reference, as in "
                "${secret:NAME}. A value that is no secret belongs into a ConfigMap."
            )


# --- pods -------------------------------------------------------------------------------------------------


def _pod(document: Document, path: Path_, pod: Mapping[str, Any], allow: frozenset[str]) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key) and key not in allow:
            yield f"{document.at(*path, key)}: {_needs_leave(key, 'shares what belongs to the node')}"
    for key in ("serviceAccountName", "serviceAccount"):
        account = str(pod.get(key, ""))
        if account == MANAGER or "${" in account:
            where = document.at(*path, key)
            yield f"{where}: the account is {account!r}; name one, and not the portal's own account {MANAGER}."
    for index, volume in enumerate(_items(pod.get("volumes"))):
        # A volume may be an image, too.
        reference = (volume.get("image") or {}).get("reference")
        if reference is not None and not _PINNED.fullmatch(str(reference)):
            where = document.at(*path, "volumes", index, "image", "reference")
            yield f"{where}: the image {reference!r} is not pinned; expected NAME@sha256:DIGEST."
        if "hostPath" in volume and "hostPath" not in allow:
            yield f"{document.at(*path, 'volumes', index)}: {_needs_leave('hostPath', 'reads files of the node')}"
    for part in ("initContainers", "containers"):
        for index, container in enumerate(_items(pod.get(part))):
            yield from _container(document, (*path, part, index), container, allow)


def _container(document: Document, path: Path_, container: Mapping[str, Any], allow: frozenset[str]) -> Iterator[str]:
    image = container.get("image")
    if image is not None and not (isinstance(image, str) and (COMPONENT.fullmatch(image) or _PINNED.fullmatch(image))):
        yield (
            f"{document.at(*path, 'image')}: the image {image!r} is not pinned; expected a component of the release "
            "(a bare name) or NAME@sha256:DIGEST."
        )
    security = container.get("securityContext")
    security = security if isinstance(security, Mapping) else {}
    if (security.get("privileged") or security.get("allowPrivilegeEscalation")) and "privileged" not in allow:
        where = document.at(*path, "securityContext")
        yield f"{where}: {_needs_leave('privileged', 'may do anything on its node')}"
    added = (security.get("capabilities") or {}).get("add")
    if added and "capabilities" not in allow:
        where = document.at(*path, "securityContext", "capabilities", "add")
        yield f"{where}: {_needs_leave('capabilities', f'wants the rights {added}')}"
    for index, port in enumerate(_items(container.get("ports"))):
        if port.get("hostPort") and "hostPort" not in allow:
            yield f"{document.at(*path, 'ports', index)}: {_needs_leave('hostPort', 'takes a port of the node')}"


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _needs_leave(what: str, why: str) -> str:
    return f"{what} {why}; it is refused unless those who operate the cluster allow it."
