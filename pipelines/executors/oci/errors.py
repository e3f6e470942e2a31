"""What can go wrong between us and a registry, and how a credential is named without being shown."""

from __future__ import annotations

from dataclasses import dataclass, field


class RegistryError(Exception):
    """What was found, what was expected, what to do. Holds no secret. Trying again would change nothing."""


class RegistryAway(RegistryError):
    """It does not answer, or says itself that it cannot now (429, 5xx). It may do so later."""


class RegistryRefused(RegistryError):
    """401 or 403: the credential is wrong, or may not do this. A person has to change something."""


@dataclass(frozen=True, slots=True)
class Credential:
    """`source` names where it comes from, in words for messages: which secrets of which team."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    source: str = "the credential"
