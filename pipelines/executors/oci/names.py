"""How registries, repositories, tags and images are written."""

from __future__ import annotations

import re

from pipelines.definition import forms

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = forms.written(forms.HOST)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# The one registry whose API is not where its name says.
_API = {"docker.io": "registry-1.docker.io"}


def is_host(text: str) -> bool:
    """True for HOST or HOST:PORT that an image's name can begin with. A lone word would be taken for a folder."""
    return bool(_HOST.fullmatch(text))


def is_repository(text: str) -> bool:
    """True for what comes after the host: lower case words with `/` between."""
    return bool(_REPOSITORY.fullmatch(text)) and len(text) <= 200


def is_digest(text: str) -> bool:
    return bool(_DIGEST.fullmatch(text))


def api_host(host: str) -> str:
    """Where the registry of this name is asked."""
    return _API.get(host, host)


def split(reference: str) -> tuple[str, str, str] | None:
    """Host, repository and digest of HOST/REPOSITORY@DIGEST; None for anything else."""
    name, _, digest = reference.partition("@")
    host, _, repository = name.partition("/")
    if is_host(host) and is_repository(repository) and is_digest(digest):
        return host, repository, digest
    return None
