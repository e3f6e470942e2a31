"""What a stage's `with` asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipelines.definition import forms
from pipelines.executors.attempt import artifact
from pipelines.executors.base import Artifact, PlanError, StageSpec
from pipelines.executors.verify.settings import release_name

KEYS = (
    "playbook",
    "inventory",
    "variables",
    "secrets",
    "limit",
    "tags",
    "vault_password",
    "workspace",
    "_retry",
)
RESERVED = "burger_"
_VARIABLE, _SECRET = forms.written(forms.PLAYBOOK_VARIABLE), forms.written(forms.CAPITALS)


@dataclass(frozen=True, slots=True)
class Order:
    """`secrets` maps a name to a reference, `vault_password` is a reference or empty, `limit` and `tags` are
    as ansible-playbook takes them. `retry_hosts` are the hosts that the attempt before could not finish."""

    playbook: str
    inventory: str
    workspace: Artifact
    variables: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    limit: str = ""
    tags: str = ""
    vault_password: str = ""
    retry_hosts: tuple[str, ...] = ()
    release: str = ""

    @classmethod
    def of(cls, spec: StageSpec) -> Order:
        """Raises PlanError."""
        given = spec.with_
        if unknown := sorted(set(given) - set(KEYS)):
            raise PlanError(f"`with` has the unknown keys {', '.join(unknown)}; known are {', '.join(KEYS[:-1])}.")
        retry = given.get("_retry") or {}
        return cls(
            playbook=_path(given, "playbook", "playbooks/site.yml"),
            inventory=_path(given, "inventory", f"playbooks/inventories/{spec.environment or 'staging'}"),
            workspace=artifact(spec, given.get("workspace")),
            variables=_variables(given.get("variables") or {}),
            secrets=_secrets(given.get("secrets") or {}),
            limit=_words(given, "limit"),
            tags=_words(given, "tags"),
            vault_password=str(given.get("vault_password") or ""),
            retry_hosts=tuple(retry.get("limit") or ()),
            release=release_name(spec),
        )

    @property
    def hosts(self) -> str:
        """The pattern for `--limit`. Hosts left over from an attempt before are within the stage's own."""
        return ",".join(self.retry_hosts) or self.limit


def _path(given: Mapping[str, Any], key: str, default: str) -> str:
    value = str(given.get(key) or default)
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("-") or "\0" in value:
        raise PlanError(f"`with.{key}` is {value!r}; expected a path inside the repository, such as {default}.")
    return str(path)


def _variables(given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise PlanError(f"`with.variables` has to map names to values, found {type(given).__name__}.")
    for name in given:
        if not _VARIABLE.fullmatch(str(name)):
            raise PlanError(
                f"`with.variables` has the name {name!r}; expected letters, digits and _, beginning with a "
                f"letter, and not with {RESERVED!r}, which the portal uses itself."
            )
    return dict(given)


def _secrets(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(item, str) for item in given.values()):
        raise PlanError("`with.secrets` has to map names to references, such as SHOP_KEY: shop-key.")
    if wrong := [str(name) for name in given if not _SECRET.fullmatch(str(name))]:
        raise PlanError(f"`with.secrets` has the names {', '.join(wrong)}; expected capital letters, digits and _.")
    return dict(given)


def _words(given: Mapping[str, Any], key: str) -> str:
    """A text, or a list of texts joined by commas."""
    value = given.get(key) or ""
    items: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise PlanError(f"`with.{key}` has to be a text or a list of texts, found {value!r}.")
    text = ",".join(item.strip() for item in items)
    if text.startswith(("-", "@")) or any(character.isspace() for character in text):
        raise PlanError(f"`with.{key}` is {text!r}; expected names separated by commas.")
    return text
