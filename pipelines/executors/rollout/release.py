"""What a release is: services by digest. Target-neutral, plain data, the same as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.definition.forms import ASSETS


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of process of a release.

    `route` is a path prefix, "assets" for /assets/<first 12 hex digits of the digest>/, or "" for a service
    that gets no traffic. `secrets` maps a variable to a reference of `team`; values stand nowhere in here.
    `drain` is in seconds: how long a replica may go on with its last requests.
    """

    artifact: str
    digest: str
    command: tuple[str, ...]
    route: str = ""
    replicas: int = 1
    health: str = "/healthz"
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    team: str = ""
    drain: float = 5.0

    @property
    def short(self) -> str:
        return self.digest.removeprefix("sha256:")[:12]


@dataclass(frozen=True, slots=True)
class Release:
    """`errors` names the service whose /errors/STATUS.html stands in for a gateway error, "" for none.
    `when` is the time at which the release was last rolled out, in seconds since 1970. `manifests` is the digest of
    all objects that a cluster gets, "" for a release of this machine."""

    name: str
    services: Mapping[str, Service]
    commit: str = ""
    run: int = 0
    pipeline: str = ""
    errors: str = ""
    when: float = 0.0
    manifests: str = ""

    @property
    def static_url(self) -> str:
        assets = next((s for s in self.services.values() if s.route == ASSETS), None)
        return f"/assets/{assets.short}/" if assets else "/static/"

    @property
    def replicas(self) -> dict[str, int]:
        return {name: service.replicas for name, service in self.services.items()}

    @property
    def content(self) -> str:
        """Identity of what would run, whatever its name: two releases with the same one behave the same."""
        services = {name: asdict(service) for name, service in self.services.items()}
        for service in services.values():
            del service["replicas"]
        parts = [services, self.errors, *([self.manifests] if self.manifests else [])]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Release:
        services = {
            name: Service(**{**service, "command": tuple(service["command"])})
            for name, service in data["services"].items()
        }
        return cls(**{**data, "services": services})
