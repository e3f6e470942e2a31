"""Secrets: a reference until the last moment; `masks` hides them in all that leaves.

A reference is one of these; wherever the secret lies, it is one team's, and only stages of this team get it.

    NAME                     the file HOME/secrets/TEAM/NAME that only its owner may read
    env:NAME                 the variable BURGER_SECRET_TEAM__NAME of the worker
    store:NAME               an entry of HOME/stores/TEAM.yml, encrypted by ansible-vault
    vault:NAME[/KEY]         a text of a secret in Vault, below the team's path; KEY is `value` unless given
    kubernetes:NAME[/KEY]    a text of a Secret in the team's namespace of a cluster; likewise

connections.yaml says how the last three are reached.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LARGEST = 64 * 1024
_WITH_KEYS = ("vault", "kubernetes")


class SecretError(Exception):
    """Names the reference and what to do; never holds a value."""


def resolve(home: Path, team: str, reference: str) -> str:
    """The value of a secret of `team`, without the line end of its file. Raises SecretError."""
    kind, _, name = reference.rpartition(":")
    name, slash, key = name.partition("/") if kind in _WITH_KEYS else (name, "", "")
    names = [name, team, *([key] if slash else [])]
    if kind not in ("", "env", "store", *_WITH_KEYS) or not all(map(_NAME.fullmatch, names)):
        raise SecretError(
            f"{reference!r} of team {team!r} is no reference to a secret: expected NAME, env:NAME, store:NAME, "
            "vault:NAME/KEY or kubernetes:NAME/KEY, in letters, digits, and . _ - between them."
        )
    if kind == "env":
        value = _from_environment(team, name)
    else:
        value = _from_elsewhere(home, team, kind, name, key) if kind else _from_file(home, team, name)
    if not value or "\0" in value:
        raise SecretError(f"The secret {reference!r} of team {team!r} is empty or holds a NUL; set it again.")
    return value


def _from_elsewhere(home: Path, team: str, kind: str, name: str, key: str) -> str:
    from pipelines.executors import connections, secret_stores

    try:
        stores = connections.load(home).secrets
    except connections.ConnectionsError as error:
        raise SecretError(str(error)) from None
    key = key or secret_stores.DEFAULT_KEY
    if kind == "vault":
        return secret_stores.from_vault(stores.vault, team, name, key)
    if kind == "kubernetes":
        return secret_stores.from_kubernetes(stores.kubernetes, team, name, key)
    return secret_stores.from_store(home, stores.store_key, team, name)


def _from_environment(team: str, name: str) -> str:
    # Two teams must never share a variable: with one underscore, or with team names that hold some, they
    # could.
    ambiguous = re.search(r"[_.-]{2}", f"{team}|{name}") or re.match(r"[_.-]", name) or re.search(r"[_.-]$", team)
    if "_" in team or ambiguous:
        raise SecretError(
            f"The secret 'env:{name}' of team {team!r} cannot be a variable: a team with _, or two of _ . - in "
            "a row, could mean another team's. Put it into a file of the team instead."
        )
    variable = "BURGER_SECRET_" + re.sub(r"[.-]", "_", f"{team}__{name}").upper()
    if variable not in os.environ:
        raise SecretError(f"The secret 'env:{name}' of team {team!r} is not there: set {variable} for the workers.")
    return os.environ[variable]


def _from_file(home: Path, team: str, name: str) -> str:
    return read_private(home / "secrets" / team / name, f"The secret {name!r} of team {team!r}")


def read_private(path: Path, said: str) -> str:
    """The text of a file that only we may read, without its last line end. Raises SecretError, which begins with
    `said`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SecretError(f"{said} is not there: write it to {path} with mode 0600.") from None
    except OSError as error:
        raise SecretError(f"{said} cannot be read from {path}: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{said} has to be a plain file, but {path} is none.")
        if status.st_mode & 0o077:
            found = f"{stat.S_IMODE(status.st_mode):04o}"
            raise SecretError(f"{said} may be read by others: {path} has mode {found}. Run chmod 600 on it.")
        if status.st_uid not in (os.geteuid(), 0):
            raise SecretError(f"{said} belongs to another user: {path} has owner {status.st_uid}.")
        if status.st_size > _LARGEST:
            raise SecretError(f"{said} has {status.st_size} bytes; at most {_LARGEST} are possible.")
        content = file.read(_LARGEST)
    with suppress(UnicodeDecodeError):
        return content.decode().removesuffix("\n").removesuffix("\r")
    raise SecretError(f"{said} is no UTF-8 text; store it in base64.")
