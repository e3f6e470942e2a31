"""Whether a Docker Engine can be used and with which builder, found out by building."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.executors.build import builders
from pipelines.executors.build.builders import Builder
from pipelines.executors.build.engine import Engine, EngineAwayError
from pipelines.executors.build.words import GET_BUILDKIT
from pipelines.executors.connections import Docker

PATIENCE = 30.0  # seconds for a build of nothing


@dataclass(frozen=True, slots=True)
class Report:
    """`problem` says what is wrong, "" where nothing is; `remedy` is what to do, also where it only could be better."""

    builder: Builder
    facts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    remedy: str = ""


def check(docker: Docker) -> Report:
    """Ask the engine who it is, and build an empty image with what would build. Never raises for what it finds."""
    builder, engine = builders.find(docker), Engine(docker.host)
    try:
        about = engine.about()
    except EngineAwayError as error:
        return Report(
            builder, problem=str(error), remedy="See the engine's log; `systemctl status docker` says if it runs."
        )
    facts = {
        "engine": str(about.get("ServerVersion", "")),
        "machine": f"{about.get('NCPU', '?')} processors, {int(about.get('MemTotal') or 0) / 1e9:.1f} GB of memory",
        "storage": str(about.get("Driver", "")),
        "images": str(about.get("Images", "")),
    }
    if not builder.buildkit:
        return Report(builder, facts, remedy=f"No build secrets, no cache mounts. {GET_BUILDKIT}")
    problem = _try(docker, builder)
    return Report(builder, facts, problem, f"Try it by hand: {builder.cli} build . {GET_BUILDKIT}" if problem else "")


def _try(docker: Docker, builder: Builder) -> str:
    """Build an image of nothing, which is not kept under any name."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        Path(folder, "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        builders.write_config(Path(home), {})
        words = ["buildx", "build"] if builder.kind == "buildx" else ["build"]
        env = builders.variables(docker) | {"PATH": "/usr/bin:/bin", "HOME": home}
        try:
            done = subprocess.run(
                [builder.cli, *words, "--progress=plain", folder],
                env=env,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{builder.words} cannot build an empty image: {error}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return (
        f"{builder.words} cannot build an empty image: {lines[-1] if lines else 'no word'}" if done.returncode else ""
    )
