"""The manifests of a release, as a repository holds them: a folder of plain YAML, and a folder per environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.executors.kubernetes import kinds, rules
from pipelines.executors.kubernetes.documents import Document, read_folder
from pipelines.executors.kubernetes.errors import ManifestError
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.kubernetes.overlays import deletes, merge

OVERLAYS = "overlays"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object before it is rendered, and the documents that it was merged from."""

    data: Mapping[str, Any]
    documents: tuple[Document, ...]

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.name, kinds.group_of(self.data["apiVersion"]))

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def name(self) -> str:
        return str(self.data["metadata"]["name"])

    def where(self, text: str = "") -> str:
        """ "FILE:LINE" of the last place that says `text`, else of the object."""
        found = (document.where(text) for document in reversed(self.documents)) if text else ()
        return next((place for place in found if place), self.documents[0].at())


def load(
    folder: Path, environment: str = "", *, allow: frozenset[str] = frozenset(), shown: str = ""
) -> list[Manifest]:
    """The manifests in `folder`, with those in its overlays/ENVIRONMENT laid upon them.

    Only the folder's own files count, not those of its other subfolders. An overlay's object without its like in the
    folder is one more object; `$patch: delete` takes one away. `allow` is a subset of `rules.ALLOWABLE`; `shown` is
    what the folder is called in messages. Raises ManifestError with every problem there is.
    """
    shown = shown or folder.name
    if not folder.is_dir():
        raise ManifestError([f"{shown} is no folder of the repository at this commit."])
    bases = read_folder(folder, shown)
    overlay = folder / OVERLAYS / environment
    overs = read_folder(overlay, f"{shown}/{OVERLAYS}/{environment}") if environment and overlay.is_dir() else []
    known = {_key(document) for document in bases}
    problems = [problem for document in bases for problem in rules.problems(document, allow)]
    for document in overs:
        problems += rules.problems(document, allow, overlay=_key(document) in known)
    problems += _twice(bases)
    if problems:
        raise ManifestError(problems)
    manifests = _merged(bases, overs)
    if not manifests:
        raise ManifestError([f"{shown} holds no manifests (*.yaml)."])
    return manifests


def components(manifests: Iterable[Manifest]) -> set[str]:
    """The components that a release of these manifests consists of: the bare names among its images."""
    images = (container.get("image", "") for manifest in manifests for container in containers(manifest.data))
    return {image for image in images if rules.COMPONENT.fullmatch(image)}


def containers(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All containers of an object's pods, those included that run before the others."""
    pod = (kinds.template_of(item) or {}).get("spec") or {}
    return [container for part in ("initContainers", "containers") for container in pod.get(part) or ()]


def _key(document: Document) -> tuple[str, str]:
    metadata = document.data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(document.data.get("kind")), str(name)


def _twice(documents: Iterable[Document]) -> list[str]:
    first: dict[tuple[str, str], Document] = {}
    problems = []
    for document in documents:
        other = first.setdefault(_key(document), document)
        if other is not document:
            kind, name = _key(document)
            problems.append(f"{document.at('kind')}: {kind}/{name} is there twice; the other is at {other.at('kind')}.")
    return problems


def _merged(bases: Iterable[Document], overs: Iterable[Document]) -> list[Manifest]:
    found = {_key(document): Manifest(document.data, (document,)) for document in bases}
    for over in overs:
        key = _key(over)
        if deletes(over.data):
            found.pop(key, None)
        elif key in found:
            base = found[key]
            found[key] = replace(base, data=merge(base.data, over.data), documents=(*base.documents, over))
        else:
            found[key] = Manifest(merge({}, over.data), (over,))
    return [found[key] for key in sorted(found)]
