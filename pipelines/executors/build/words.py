"""What a build says to people: why it is refused, what went wrong and what to do, how it went."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.executors.base import Artifact
from pipelines.executors.build.builders import Builder
from pipelines.executors.build.dockerfile import Base, Facts
from pipelines.executors.build.engine import Image
from pipelines.executors.build.settings import Settings
from pipelines.executors.build.steps import Steps

GET_BUILDKIT = (
    "Install docker's buildx plugin or a docker client 20.10 on the worker, or name one that has it in `docker.cli` of "
    "connections.yaml; the engines page says what was tried."
)
_KEEPS_LIMITS = "Only the classic builder holds a build to limits of memory and processors"


def choose(settings: Settings, found: Builder) -> tuple[Builder, str]:
    """The builder to use, and why it is not BuildKit, "" where it is."""
    if found.buildkit and (settings.memory or settings.cpus):
        return Builder("classic"), f"{_KEEPS_LIMITS}, and this stage has some"
    if not found.buildkit:
        return found, f"No command line here offers BuildKit ({'; '.join(found.tried)})"
    return found, ""


def refusal(settings: Settings, facts: Facts, builder: Builder, why: str) -> str:
    """Why this build cannot be done by this builder, "" where it can."""
    if builder.buildkit:
        return ""
    remedy = (
        f"Leave out `limits`, or what needs BuildKit. {GET_BUILDKIT}" if why.startswith(_KEEPS_LIMITS) else GET_BUILDKIT
    )
    if settings.secrets:
        names = ", ".join(sorted(settings.secrets))
        return (
            f"The build needs the secret {names}, and {builder.words} could only hand it over in a layer of the "
            f"image. {why}. {remedy}"
        )
    if facts.buildkit:
        return f"{settings.dockerfile} cannot be built by {builder.words}: {facts.buildkit}. {why}. {remedy}"
    return ""


def plain(engine: str, hosts: Iterable[str]) -> str:
    """Why no credential goes to registries that the engine would speak plain http to."""
    names = ", ".join(hosts)
    return (
        f"The engine at {engine} may speak plain http to {names}, where anybody on the way could read the credential. "
        "Name the registry as one that is reached by https, and take it out of the engine's `insecure-registries`, or "
        "out of the stage's `registries`."
    )


def failure(settings: Settings, facts: Facts, steps: Steps, reason: str) -> str:
    """Why a build failed."""
    if steps.missing:
        return missing_image(settings, facts.bases, steps.missing, steps.said)
    where = f" at `{steps.failed or steps.current}`" if steps.failed or steps.current else ""
    return f"The build of {settings.dockerfile} failed{where}: {steps.said or reason}"


def missing_image(settings: Settings, bases: Iterable[Base], image: str, said: str) -> str:
    # The classic builder names it as the Dockerfile does.
    found = next((base for base in bases if _same(base.image, image) or base.written == image), None)
    image = found.image if found else image
    where = f" ({settings.dockerfile}, line {found.line})" if found else ""
    other = (
        f"name one that it has by the build argument {found.argument}"
        if found and found.argument
        else "take it by a build argument (ARG before FROM) and name one that the engine has"
    )
    return (
        f"The image {image}{where} is not in the engine and cannot be pulled: {said}. Load it into the engine (docker "
        f"load, or docker import), or {other}, or let the engine reach its registry. docs/engines/docker.md says how."
    )


def _same(one: str, other: str) -> bool:
    def full(image: str) -> str:
        image = image.removeprefix("docker.io/").removeprefix("library/").partition("@")[0]
        return image if ":" in image.rpartition("/")[2] else f"{image}:latest"

    return full(one) == full(other)


def summary(image: Image, steps: Steps, seconds: float, released: Artifact | None) -> str:
    """One sentence: the size, in how many layers, how long, how much came from the cache, and against the release."""
    done, cached, _ = steps.counted()
    parts = [
        f"{megabytes(image.size)} in {len(image.layers)} layer{'s' * (len(image.layers) != 1)}",
        f"{seconds:.1f} s",
        f"{cached} of {done} steps from the cache",
    ]
    if released and released.size:
        parts.append(against(image.size, released.size))
    return ", ".join(parts)


def against(size: int, before: int) -> str:
    change = size - before
    if abs(change) < before / 1000:
        return "as large as in the last release"
    return f"{megabytes(abs(change))} {'larger' if change > 0 else 'smaller'} than in the last release"


def table(image: Image) -> str:
    """The layers, the base's first, for the log."""
    lines = [f"{megabytes(layer.size):>10}  {layer.made_by}" for layer in image.layers]
    return "\n".join(["Layers, the lowest first:", *lines, f"{megabytes(image.size):>10}  in all", ""])


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
