"""What a plan is given in place of secrets: a digest of each value, under a key that no playbook gets.

A plan is made before anybody has approved anything, by code of the commit. With digests it can still say which
secrets would change, because the run that wrote them last left their digests behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.executors.kubernetes.content import ContentKey


def digests(home: Path, team: str, values: Mapping[str, str]) -> dict[str, str]:
    """NAME: 16 hex digits; equal for equal values of one name of one team, in one installation."""
    if not values:
        return {}
    key = ContentKey.of(home)
    return {name: key.digest(["ansible", team, name, value]) for name, value in values.items()}


def placeholders(digests: Mapping[str, str]) -> dict[str, str]:
    """What stands for each value in check mode: one line, the same as long as the value is."""
    return {name: f"(secret {name}, {digest})" for name, digest in digests.items()}
