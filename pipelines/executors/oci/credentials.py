"""From the references of a stage to a credential, at the last moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.executors.oci.errors import Credential
from pipelines.executors.secrets import resolve


def credential_of(home: Path, team: str, references: Mapping[str, str]) -> Credential | None:
    """The credential whose `username` and `password` are these secrets of `team`; None without references.

    Raises SecretError.
    """
    if not references:
        return None
    username, password = references["username"], references["password"]
    return Credential(
        resolve(home, team, username),
        resolve(home, team, password),
        f"the secrets {username!r} and {password!r} of team {team}",
    )
