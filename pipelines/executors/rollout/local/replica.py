"""One replica: a process of a service of a release, and what it needs to start."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.executors import secrets
from pipelines.executors.rollout.local.config import Config
from pipelines.executors.rollout.local.place import Place
from pipelines.executors.rollout.local.processes import MARK
from pipelines.executors.rollout.release import Release, Service
from pipelines.performance import tokens

State = Literal["starting", "ready", "unready", "backoff", "leaving", "stopping"]

FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 30.0
# A replica that ran this long, in seconds, starts again at once when it dies.
SETTLED = 20.0
# Shorter than this, a value of the configuration is not taken for a secret.
_SHORTEST = 8
# Variables that the target gives to every replica.
_OWN = {
    "PATH", "LANG", "HOME", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "PYTHONPATH", "ALLOWED_HOSTS", "RELEASE",
    "STATIC_URL", "DATA_DIR", "BURGER_ENVIRONMENT", "PORT", "MEASURE_URL", MARK,
}  # fmt: skip


@dataclass(slots=True)
class Replica:
    """`since`, `next_start` and `kill_at` are seconds since 1970. `restarts` counts deaths, `deaths_in_row`
    those without a settled life between them. `misses` counts failed health checks in a row. `output_pid` is
    the process that masks what it prints."""

    id: str
    release: str
    service: str
    revision: str
    state: State = "backoff"
    pid: int = 0
    started: int = 0
    port: int = 0
    since: float = 0.0
    restarts: int = 0
    deaths_in_row: int = 0
    misses: int = 0
    error: str = ""
    next_start: float = 0.0
    kill_at: float = 0.0
    drain: float = 5.0
    output_pid: int = 0
    output_started: int = 0

    @property
    def going(self) -> bool:
        """It is wanted, whether or not it works at the moment."""
        return self.state not in ("leaving", "stopping")

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def facts(self) -> dict[str, Any]:
        """What others may know of it."""
        shown = ("id", "state", "ready", "pid", "started", "port", "restarts", "since", "error", "revision")
        return {name: getattr(self, name) for name in shown}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def revision(release: Release, service: Service, config: Config) -> str:
    """What a replica runs, as a digest: another one means that it has to be replaced."""
    data = asdict(service)
    del data["replicas"], data["drain"]
    text = json.dumps([release.name, release.static_url, data, config.digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def backoff(deaths_in_row: int) -> float:
    """Seconds to wait before the next start: none after the first death, then doubling."""
    return 0.0 if deaths_in_row <= 1 else min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(deaths_in_row - 2, 10))


def next_moves(
    wanted: int, fresh: Sequence[tuple[str, bool]], stale: Sequence[tuple[str, bool]]
) -> tuple[int, list[str]]:
    """(how many to start, which to take away), so that `wanted` fresh replicas run in the end.

    `fresh` and `stale` are (id, ready), oldest first; a stale one runs an outdated revision. Stale ones are
    replaced one after another, the new one first, and a new one that does not get ready stops the replacing.
    """
    fresh_ready = sum(ready for _, ready in fresh)
    surplus = len(fresh) - wanted
    by_use = sorted(fresh, key=lambda one: one[1])
    leave = [name for name, _ in by_use[: max(0, surplus)]]
    fresh_ready = min(fresh_ready, wanted)
    stale_ready = [name for name, ready in stale if ready]
    leave += [name for name, ready in stale if not ready]
    spare = max(0, fresh_ready + len(stale_ready) - wanted)
    leave += stale_ready[:spare]
    if len(stale_ready) > spare:
        return int(len(fresh) < wanted and fresh_ready == len(fresh)), leave
    return max(0, wanted - len(fresh)), leave


def command(service: Service, replica: Replica, slug: Path, place: Place) -> list[str]:
    """The argument list, its placeholders filled in; "python" means the Python that runs this."""
    words = [_fill(word, service, replica, slug, place) for word in service.command]
    return [sys.executable if words[0] == "python" else words[0], *words[1:]]


def environment(
    release: Release,
    service: Service,
    replica: Replica,
    *,
    slug: Path,
    place: Place,
    config: Mapping[str, str],
    hosts: str,
    collector: str = "",
) -> dict[str, str]:
    """All variables of a replica, from nothing: what the pipeline file says, over it the environment's
    configuration, over it secrets, and last what the target knows. `collector` is the address that measurements go to,
    "" for none. Raises SecretError."""
    own = {name: _fill(value, service, replica, slug, place) for name, value in service.env.items()}
    values = {name: secrets.resolve(place.home, service.team, ref) for name, ref in service.secrets.items()}
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "HOME": str(place.data),
        # Slugs hold no compiled files; without these a replica spends its first second on compiling the same again.
        "PYTHONPYCACHEPREFIX": str(place.home / "cache" / "pycache"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(slug / "vendor"), str(slug)]),
        "ALLOWED_HOSTS": hosts,
        **own,
        **config,
        **values,
        "RELEASE": release.name,
        "STATIC_URL": release.static_url,
        "DATA_DIR": str(place.data),
        "BURGER_ENVIRONMENT": place.name,
        "PORT": str(replica.port),
        **_measuring(place, release, collector),
    }


def _measuring(place: Place, release: Release, collector: str) -> dict[str, str]:
    """Where a replica reports what it measures, and what says that it may."""
    if not collector:
        return {}
    token = tokens.mint(tokens.key(place.home), place.name, release.name)
    return {"MEASURE_URL": collector, "MEASURE_TOKEN": token}


def hidden(variables: Mapping[str, str], service: Service | None, config: Config) -> list[str]:
    """What must not be read in a replica's output, of all that it was started with: its secrets, and what the
    environment's configuration gave it, now or when it started."""
    given = set(service.secrets) if service else set()
    plain = (_OWN | set(service.env if service else ())) - set(config.values)
    # A short value, a number or "true", stands in ordinary text as well.
    return [
        value for name, value in variables.items() if name in given or (name not in plain and len(value) >= _SHORTEST)
    ]


def _fill(text: str, service: Service, replica: Replica, slug: Path, place: Place) -> str:
    known = {
        "{port}": str(replica.port),
        "{release}": replica.release,
        "{environment}": place.name,
        "{data}": str(place.data),
        "{slug}": str(slug),
        "{digest}": service.digest,
    }
    for placeholder, value in known.items():
        text = text.replace(placeholder, value)
    return text
