"""A release: canonical JSON in the content store, so the same things of the same commit are the same release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.executors.base import Artifact, StageSpec
from pipelines.executors.publish.wanted import component
from pipelines.executors.store import Store

FORMAT = 1


def of_slugs(store: Store, spec: StageSpec, slugs: Sequence[Artifact]) -> Artifact:
    """The release of slugs; its meta holds `artifacts` (name to digest), `commit`, `number` (that of the run)."""
    entries = {slug.name: _entry(slug, slug.digest) for slug in slugs}
    return _release(store, spec, entries, {})


def of_images(store: Store, spec: StageSpec, images: Sequence[Artifact], names: Mapping[str, str]) -> Artifact:
    """The release of pushed images; `names` maps each artifact's name to HOST/REPOSITORY@DIGEST.

    Its meta holds besides `images` (component to that name). `artifacts` has the registry's digests.
    """
    entries = {
        image.name: _entry(image, names[image.name].partition("@")[2])
        | {"component": component(image), "image": image.digest, "reference": names[image.name]}
        for image in images
    }
    return _release(store, spec, entries, {component(image): names[image.name] for image in images})


def _entry(made: Artifact, digest: str) -> dict[str, Any]:
    known = {"component": made.meta["component"]} if "component" in made.meta else {}
    return {"kind": made.kind, "digest": digest, "size": made.size, **known}


def _release(store: Store, spec: StageSpec, entries: Mapping[str, Any], images: Mapping[str, str]) -> Artifact:
    manifest = {"format": FORMAT, "pipeline": spec.pipeline, "commit": spec.commit, "artifacts": entries}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest, size = store.add_bytes(text.encode())
    meta: dict[str, Any] = {
        "artifacts": {name: entry["digest"] for name, entry in entries.items()},
        "commit": spec.commit,
        "number": spec.run,
    }
    return Artifact(spec.stage, "release", digest, size, meta | ({"images": dict(images)} if images else {}))
