"""Which builds share a cache: those of one pipeline on refs that are trusted, and those of it on all other refs.

BuildKit names what it keeps by what a step is and by the names of the hosts that the step is told of. So each scope
has a host name of its own, and a space of its own for cache mounts. A Dockerfile's frontend may be anybody's program,
which could ask for any name: so the names are made with a key that no build gets to see.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import os
import re
import secrets as random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.executors.base import StageSpec
from pipelines.executors.connections import Docker


@dataclass(frozen=True, slots=True)
class Scope:
    """`name` is secret to other scopes; `repository` is where its images have their local names."""

    name: str
    repository: str
    trusted: bool

    @property
    def host(self) -> str:
        return f"{self.name}.build-cache.invalid"


def scope_of(home: Path, docker: Docker, spec: StageSpec, component: str) -> Scope:
    trusted = any(fnmatch.fnmatchcase(spec.ref, pattern) for pattern in docker.trusted_refs)
    kind = "trusted" if trusted else "untrusted"
    name = hmac.new(_key(home), f"{spec.pipeline}\0{kind}".encode(), hashlib.sha256).hexdigest()[:40]
    pipeline = re.sub(r"[^a-z0-9]+", "-", spec.pipeline.lower()).strip("-") or "pipeline"
    if pipeline != spec.pipeline:
        # Names that differ in what a repository cannot be called are other pipelines' all the same.
        pipeline += f"-{hashlib.sha256(spec.pipeline.encode()).hexdigest()[:10]}"
    return Scope(name, f"burger-stack/{pipeline}/{kind}/{component}", trusted)


def _key(home: Path) -> bytes:
    """This installation's key, made by whoever comes first."""
    path = home / "build-cache.key"
    home.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{random.token_hex(4)}")
    if not path.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(random.token_bytes(32))
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()
