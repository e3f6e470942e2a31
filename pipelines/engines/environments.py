"""What an environment runs right now, asked of the target that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from pipelines.executors import rollout


def status(name: str) -> dict[str, Any]:
    """As `pipelines.executors.rollout.status`; with "problem", a sentence, when it cannot be found out."""
    try:
        return rollout.status(Path(settings.HOME), name) | {"problem": ""}
    except (OSError, ValueError) as error:
        return {
            "environment": name, "release": "", "commit": "", "run": None, "since": None, "rollout": None,
            "weights": {}, "sets": {}, "router": {"ok": False, "problem": "", "restarts": 0},
            "problem": f"What runs in {name} cannot be read: {error}",
        }  # fmt: skip


def releases(name: str) -> list[dict[str, Any]]:
    """The releases that can be gone back to, the latest rolled out first; none where they cannot be read."""
    try:
        return rollout.releases(Path(settings.HOME), name)
    except (OSError, ValueError):
        return []


def retire() -> list[str]:
    """Take away what clusters kept beside a release and whose time is over; returns what went. Call it now and then.
    Raises OSError or ValueError with a sentence."""
    return rollout.retire(Path(settings.HOME))


def address(name: str) -> str:
    """Where this machine reaches an environment, "" where nobody said."""
    try:
        return rollout.address(Path(settings.HOME), name, settings.ENVIRONMENT_PORTS)
    except ValueError:
        return ""


def are_kept(home: Path) -> bool:
    """Whether the keeper of what was rolled out runs."""
    return rollout.keeper(home) is not None


def keep(home: Path, ports: Mapping[str, int], listen: str) -> None:
    """See that what was rolled out goes on, or begins again where everything had been stopped."""
    rollout.ensure_keeper(home, ports, listen, _hosts())


def configure(home: Path, ports: Mapping[str, int], listen: str) -> None:
    """Say how environments are reached, before the first of them is."""
    rollout.configure(home, ports, listen, _hosts())


def _hosts() -> dict[str, str]:
    return {"portal": settings.PORTAL_HOST, "environments": settings.ENVIRONMENT_HOST}


def stop(home: Path) -> bool:
    """Stop all that was rolled out; False if nothing ran. `keep` brings it back as it was."""
    return rollout.stop_keeper(home)
