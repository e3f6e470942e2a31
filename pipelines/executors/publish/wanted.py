"""What a publish stage is told to publish, and where to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.executors.attempt import artifact, texts
from pipelines.executors.base import Artifact, PlanError, StageSpec
from pipelines.executors.oci.names import is_host, is_repository

_CREDENTIAL = {"username", "password"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where images go. `secrets` is empty, or holds the references of `username` and `password`."""

    registry: str
    repository: str
    secrets: Mapping[str, str] = field(default_factory=dict)

    def of(self, image: Artifact) -> str:
        """The repository of an image, without the host."""
        return f"{self.repository}/{component(image)}" if self.repository else component(image)

    def name(self, image: Artifact) -> str:
        return f"{self.registry}/{self.of(image)}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is published together, sorted by name. `target` is None for slugs."""

    artifacts: tuple[Artifact, ...]
    target: Target | None


def wanted(spec: StageSpec) -> Wanted:
    """Read the stage's `with`. Raises PlanError."""
    names = spec.with_.get("artifacts")
    if not isinstance(names, list | tuple) or not names or len(set(names)) != len(names):
        raise PlanError(
            f"Stage {spec.stage}: `artifacts` has to name the stages to publish, each once, found {names!r}."
        )
    found = tuple(artifact(spec, str(name)) for name in sorted(names))
    for each in found:
        if each.kind not in ("slug", "image"):
            raise PlanError(f"Stage {spec.stage}: {each.name} is a {each.kind}; only slugs and images are published.")
        if each.meta.get("commit", spec.commit) != spec.commit:
            raise PlanError(f"Stage {spec.stage}: {each.name} was built from commit {each.meta['commit']}.")
    images = [each.name for each in found if each.kind == "image"]
    if not images:
        _refuse_target(spec)
        return Wanted(found, None)
    if len(images) < len(found):
        slugs = ", ".join(each.name for each in found if each.kind == "slug")
        raise PlanError(
            f"Stage {spec.stage}: {', '.join(images)} are images and {slugs} are slugs. A release is of one sort: "
            "publish them in two stages."
        )
    return Wanted(found, _target(spec, found))


def component(found: Artifact) -> str:
    """The component's name, the artifact's where its builder gave none."""
    return str(found.meta.get("component") or found.name)


def _refuse_target(spec: StageSpec) -> None:
    given = [name for name in ("registry", "repository", "secrets") if spec.with_.get(name)]
    if given:
        raise PlanError(
            f"Stage {spec.stage}: {' and '.join(f'`{name}`' for name in given)} are for images, but only slugs are "
            "published, which stay in the content store. Take them out, or publish images."
        )


def _target(spec: StageSpec, images: tuple[Artifact, ...]) -> Target:
    registry, repository = str(spec.with_.get("registry") or ""), str(spec.with_.get("repository") or "")
    if not is_host(registry):
        raise PlanError(
            f"Stage {spec.stage}: `registry` has to be HOST or HOST:PORT of the registry that images go to, such as "
            f"registry.example:5000, found {registry!r}."
        )
    target = Target(registry, repository, _secrets(spec))
    taken: dict[str, str] = {}
    for image in images:
        where = target.of(image)
        if not is_repository(where):
            raise PlanError(
                f"Stage {spec.stage}: {image.name} would go to the repository {where!r}; names in a registry are of "
                "lower case letters, digits and . _ - between them. Change `repository`, or the build's `component`."
            )
        if where in taken:
            raise PlanError(
                f"Stage {spec.stage}: {taken[where]} and {image.name} are both the component {component(image)}; "
                "let each build name a component of its own."
            )
        taken[where] = image.name
    return target


def _secrets(spec: StageSpec) -> dict[str, str]:
    found = texts(spec, "secrets")
    if found and set(found) != _CREDENTIAL:
        raise PlanError(
            f"Stage {spec.stage}: `secrets` of a publish stage are `username` and `password`, both or none, found "
            f"{', '.join(sorted(found))}."
        )
    return found
