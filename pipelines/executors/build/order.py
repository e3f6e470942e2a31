"""What is asked of a builder: arguments, variables and standard input of one command, for either kind of builder."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.executors.attempt import environment
from pipelines.executors.base import StageSpec
from pipelines.executors.build.builders import Builder, variables, write_config
from pipelines.executors.build.engine import Engine
from pipelines.executors.build.scope import Scope
from pipelines.executors.build.settings import Settings
from pipelines.executors.connections import Docker

CLASSIC = Path(__file__).with_name("classic.py")
CA_BUNDLE = "ca"
CACHES_TAKEN = 3  # earlier images that the classic builder may take steps from


@dataclass(frozen=True, slots=True)
class Order:
    """One build. `secrets` are values by id, `auth` {username, password} by registry; `image` is the file that the
    builder writes the image's id to."""

    spec: StageSpec
    settings: Settings
    docker: Docker
    scope: Scope
    args: Mapping[str, str]
    tree: Path
    image: Path
    tag: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    auth: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def context(self) -> Path:
        return self.tree / self.settings.context

    @property
    def dockerfile(self) -> Path:
        return self.tree / self.settings.dockerfile

    @property
    def labels(self) -> dict[str, str]:
        """From which commit, by which stage of which run: what it takes to make the image again."""
        return {
            "org.opencontainers.image.revision": self.spec.commit,
            "burger-stack.pipeline": self.spec.pipeline,
            "burger-stack.run": str(self.spec.run),
            "burger-stack.stage": self.spec.stage,
            "burger-stack.component": self.settings.component,
        }


def command(order: Order, builder: Builder) -> list[str]:
    if builder.kind == "classic":
        return [sys.executable, "-P", str(CLASSIC)]
    settings, scope = order.settings, order.scope
    argv = [builder.cli, *(("buildx", "build", "--load") if builder.kind == "buildx" else ("build",))]
    argv += ["--progress=plain", "--file", str(order.dockerfile), "--tag", order.tag, "--iidfile", str(order.image)]
    argv += _pairs("--label", order.labels)
    argv += _pairs("--build-arg", order.args)
    argv += ["--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={scope.name}", "--add-host", f"{scope.host}:127.0.0.1"]
    if settings.cache_from:
        # The image carries what a later build needs to take steps from it out of the registry.
        argv += ["--build-arg", "BUILDKIT_INLINE_CACHE=1"]
        for image in settings.cache_from:
            argv += ["--cache-from", image]
    if settings.target:
        argv += ["--target", settings.target]
    for number, name in enumerate(sorted(order.secrets)):
        argv += ["--secret", f"id={name},env={_variable(number)}"]
    if order.docker.ca_bundle and CA_BUNDLE not in order.secrets:
        argv += ["--secret", f"id={CA_BUNDLE},src={order.docker.ca_bundle}"]
    return [*argv, str(order.context)]


def env(order: Order, builder: Builder, home: Path, own: Path) -> dict[str, str]:
    """`own` becomes its HOME, where it finds the credentials of registries."""
    found = environment(home, own) | variables(order.docker)
    if builder.kind == "classic":
        return found
    pairs = {
        host: base64.b64encode(f"{one['username']}:{one['password']}".encode()) for host, one in order.auth.items()
    }
    write_config(own, {host: {"auth": pair.decode()} for host, pair in pairs.items()})
    return found | {_variable(number): order.secrets[name] for number, name in enumerate(sorted(order.secrets))}


def stdin(order: Order, builder: Builder, engine: Engine) -> bytes:
    if builder.kind != "classic":
        return b""
    settings = order.settings
    data: dict[str, Any] = {
        "host": engine.name,
        "context": str(order.context),
        "dockerfile": str(order.dockerfile),
        "tag": order.tag,
        "labels": order.labels,
        "args": dict(order.args),
        "target": settings.target,
        "memory": settings.memory,
        "cpus": settings.cpus,
        "cache_from": engine.tags(order.scope.repository)[:CACHES_TAKEN],
        "auth": {host: dict(pair) for host, pair in order.auth.items()},
        "image": str(order.image),
    }
    return json.dumps(data).encode()


def _pairs(flag: str, values: Mapping[str, str]) -> list[str]:
    return [word for name in sorted(values) for word in (flag, f"{name}={values[name]}")]


def _variable(number: int) -> str:
    return f"BURGER_BUILD_SECRET_{number}"
