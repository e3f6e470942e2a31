"""`publish`: several slugs become one release, named by the digest of its manifest.

    with:
      artifacts: [backend, frontend, database]

The manifest is canonical JSON in the content store, so the same slugs of the same commit are the same
release, whichever run published them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipelines.executors.attempt import Attempt, artifact
from pipelines.executors.base import (
    Artifact,
    Change,
    Control,
    Outcome,
    Plan,
    PlanError,
    Probe,
    Produced,
    Progress,
    StageSpec,
    Workplace,
    Yielded,
)
from pipelines.executors.store import Store

FORMAT = 1


class PublishExecutor:
    """Produces one release, named after the stage; its meta holds `artifacts` (name to digest), `commit`,
    `number` (that of the run)."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        slugs = _slugs(spec)
        return Plan(
            summary=f"publish {len(slugs)} artifacts of commit {spec.commit[:12]} as a release",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={slug.name: slug.digest for slug in slugs},
            parameters=dict(spec.parameters),
            changes=[Change(slug.name, after=slug.digest) for slug in slugs],
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=True)

    def cancel(self, spec: StageSpec, key: str) -> None:
        Attempt(self.workplace.folder(key)).cancel()

    def _work(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        slugs = _slugs(spec)
        for number, slug in enumerate(slugs):
            if attempt.stopping():
                yield Outcome("canceled", "canceled")
                return
            yield Progress(f"verifying {slug.name}", done=number, total=len(slugs))
            self.store.verify(slug.digest)
        digest, size = self.store.add_bytes(_manifest(spec, slugs))
        digests = {slug.name: slug.digest for slug in slugs}
        meta = {"artifacts": digests, "commit": spec.commit, "number": spec.run}
        yield Produced(Artifact(spec.stage, "release", digest, size, meta))
        yield Outcome("succeeded", f"published release {spec.run} of {len(slugs)} artifacts")


def _slugs(spec: StageSpec) -> list[Artifact]:
    names = spec.with_.get("artifacts")
    if not isinstance(names, list | tuple) or not names or len(set(names)) != len(names):
        raise PlanError(
            f"Stage {spec.stage}: `artifacts` has to name the stages to publish, each once, found {names!r}."
        )
    slugs = [artifact(spec, str(name)) for name in sorted(names)]
    for slug in slugs:
        if slug.kind != "slug":
            raise PlanError(f"Stage {spec.stage}: {slug.name} is a {slug.kind}; only slugs can be published.")
        if slug.meta.get("commit", spec.commit) != spec.commit:
            raise PlanError(f"Stage {spec.stage}: {slug.name} was built from commit {slug.meta['commit']}.")
    return slugs


def _manifest(spec: StageSpec, slugs: list[Artifact]) -> bytes:
    manifest = {
        "format": FORMAT,
        "pipeline": spec.pipeline,
        "commit": spec.commit,
        "artifacts": {
            slug.name: {"kind": slug.kind, "digest": slug.digest, "size": slug.size, **_component(slug)}
            for slug in slugs
        },
    }
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _component(slug: Artifact) -> dict[str, str]:
    return {"component": slug.meta["component"]} if "component" in slug.meta else {}
