"""The providers by the name that stands in their address. Each is a module with the same four functions."""

from __future__ import annotations

from typing import Protocol

from pipelines.runs.push import Push

from . import git, gitea, github, gitlab
from .call import Call, Nothing


class Provider(Protocol):
    def is_signed(self, call: Call, secret: str) -> bool:
        """Whether the call comes from somebody who knows the secret. Never raises; takes the same time for all."""

    def signed(self, call: Call) -> bytes:
        """What the signature covers: the same bytes again are a replay, whatever id they come with. Empty where the
        provider signs nothing."""

    def delivery(self, call: Call) -> str:
        """What the provider calls this delivery; the same for its repeats. Raises MalformedError."""

    def read(self, call: Call) -> Push | Nothing:
        """The push that is announced. Raises MalformedError."""


PROVIDERS: dict[str, Provider] = {"github": github, "gitlab": gitlab, "gitea": gitea, "git": git}
