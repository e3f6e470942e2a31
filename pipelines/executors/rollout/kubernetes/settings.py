"""The `with` mapping of a rollout stage to clusters, checked.

with:
  target: kubernetes
  manifests: docker/k8s     # folder of the repository
  release_from: publish     # the stage that published the images, where several did
  secrets: [shop-password]  # references of the owner's secrets that the manifests may hold
  replicas: {backend: 3}    # instead of the manifests' number
  strategy: {canary: {steps: [{setWeight: 25}, {pause: {duration: 30s}}, {setWeight: 100}]}}
  progressDeadline: 60s     # for each step
  release: NAME             # go back to a release that was kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.definition.forms import MOST_REPLICAS
from pipelines.executors.base import Artifact, PlanError, StageSpec
from pipelines.executors.rollout import strategy as strategies
from pipelines.executors.rollout.settings import duration, parse_strategy, whole

MANIFESTS = "docker/k8s"
_KEYS = {
    "target", "manifests", "secrets", "release_from", "workspace", "replicas", "strategy", "progressDeadline",
    "release", "rollback_to", "_retry",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """`release` is the kept release to go back to, "" for a new one. `replicas` maps a service to its number where
    the manifests' is not wanted. `secrets` are the references that the manifests may hold: what a commit brings may
    not reach for more than the pipeline file says, which changes with the owner's word alone."""

    strategy: str
    steps: tuple[strategies.Step, ...]
    dynamic_stable: bool = False
    deadline: float = 60.0
    release: str = ""
    manifests: str = MANIFESTS
    replicas: Mapping[str, int] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


def parse(spec: StageSpec) -> Settings:
    """Raises PlanError that names the place in `with`, what was found and what was expected."""
    data = spec.with_
    if unknown := sorted(set(map(str, data)) - _KEYS):
        known = ", ".join(sorted(name for name in _KEYS if not name.startswith("_")))
        raise PlanError(f"with has the unknown key {unknown[0]!r}; for the target kubernetes known are {known}.")
    deadline = duration(data.get("progressDeadline", 60), "with.progressDeadline")
    release = str(data.get("rollback_to") or data.get("release") or "")
    if release:
        return Settings("rollback", strategies.rollback(), deadline=deadline, release=release)
    name, steps, dynamic = parse_strategy(data.get("strategy"))
    return Settings(
        strategy=name,
        steps=steps,
        dynamic_stable=dynamic,
        deadline=deadline,
        manifests=str(data.get("manifests") or MANIFESTS),
        replicas=_replicas(data.get("replicas")),
        secrets=_secrets(data.get("secrets")),
    )


def _replicas(value: object) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PlanError(f"with.replicas is {value!r}; expected a mapping of a workload's name to its replicas.")
    return {str(name): whole(one, f"with.replicas.{name}", 0, MOST_REPLICAS) for name, one in value.items()}


def _secrets(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise PlanError(f"with.secrets is {value!r}; expected a list of references of secrets.")
    return frozenset(map(str, value))


def published(spec: StageSpec) -> Artifact:
    """The release whose images are rolled out. Raises PlanError."""
    wanted = str(spec.with_.get("release_from") or "")
    found = [one for one in spec.artifacts.values() if one.kind == "release" and one.meta.get("images")]
    found = [one for one in found if wanted in ("", one.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(one.name for one in found)) or "none"
    raise PlanError(
        f"Stage {spec.stage} rolls out the images of one published release; the stages that it needs made {names}. "
        "Let it need the stage that publishes them, or name that one in with.release_from."
    )


def workspace(spec: StageSpec) -> Artifact:
    """The repository at the run's commit. Raises PlanError."""
    wanted = str(spec.with_.get("workspace") or "")
    found = [one for one in spec.artifacts.values() if one.kind == "workspace" and wanted in ("", one.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(one.name for one in found)) or "none"
    raise PlanError(
        f"Stage {spec.stage} reads manifests of the repository, so it needs one workspace; it has {names}. Let it "
        "need the stage that fetches the commit, or name that one in with.workspace."
    )
