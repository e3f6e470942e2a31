"""Secrets: a reference until the last moment, and masked in all that leaves.

A reference is one of these; wherever the secret lies, it is one team's, and only stages of this team get it.

    NAME                     the file HOME/secrets/TEAM/NAME that only its owner may read
    env:NAME                 the variable BURGER_SECRET_TEAM__NAME of the worker
    store:NAME               an entry of HOME/stores/TEAM.yml, encrypted by ansible-vault
    vault:NAME[/KEY]         a text of a secret in Vault, below the team's path; KEY is `value` unless given
    kubernetes:NAME[/KEY]    a text of a Secret in the team's namespace of a cluster; likewise

connections.yaml says how the last three are reached.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

MASK = "***"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LARGEST = 64 * 1024
# Shorter encodings and lines are found in ordinary text by chance.
_SHORTEST = 4
_WITH_KEYS = ("vault", "kubernetes")
# Where `base64` and PEM break their lines.
_WRAPS = (76, 64)


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


# --- masking ----------------------------------------------------------------------------------------------


class Masker:
    """Replaces values, and the usual encodings of them, by `***`."""

    def __init__(self, values: Iterable[str]) -> None:
        values = list(values)
        forms = {form for value in values for form in _forms(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._broken = [pattern for value in values for pattern in _broken(value)]

    def mask(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        for pattern in self._broken:
            text = pattern.sub(MASK, text)
        return text

    def stream(self) -> MaskedStream:
        """For text that comes in pieces."""
        return MaskedStream(self)

    def cut(self, text: str) -> int:
        """How much of `text` can be masked by itself, whatever follows it."""
        cut = len(text)
        for form in self._forms:
            cut = min(cut, _beginning_at_end(text, form))
        while torn := self._torn(text, cut):
            cut = torn[0]
        return cut

    def _torn(self, text: str, cut: int) -> tuple[int] | None:
        for form in self._forms:
            start = text.find(form, max(0, cut - len(form) + 1), cut + len(form) - 1)
            if start >= 0:
                return (start,)
        return None


class MaskedStream:
    """Masks text that comes in pieces; holds back an end that may be the beginning of a secret."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._held = masker, ""

    def feed(self, text: str) -> str:
        text = self._held + text
        cut = self._masker.cut(text)
        self._held = text[cut:]
        return self._masker.mask(text[:cut])

    def end(self) -> str:
        """What was still held back."""
        text, self._held = self._held, ""
        return self._masker.mask(text)


def _beginning_at_end(text: str, form: str) -> int:
    """Where the longest end of `text` begins that `form` could continue; the length of `text` if there is
    none."""
    start = text.find(form[0], max(0, len(text) - len(form) + 1))
    while start >= 0:
        if form.startswith(text[start:]):
            return start
        start = text.find(form[0], start + 1)
    return len(text)


def _forms(value: str) -> Iterator[str]:
    """The value and its encodings, and the same of each of its lines."""
    lines = value.splitlines()
    for part in {value, value.strip(), *lines, *(line.strip() for line in lines)}:
        if part in (value, value.strip()) and part.strip():
            yield part
        if len(part.strip()) >= _SHORTEST:
            yield part
            yield from (form for form in _encodings(part) if len(form) >= _SHORTEST)


def _encodings(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogateescape")
    yield data.hex()
    yield data.hex().upper()
    yield from _base64(data)
    for text in (quote(value), quote(value, safe=""), quote_plus(value)):
        yield text
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield text[1:-1]
        yield text[1:-1].replace("/", "\\/")
        yield json.dumps(text)[1:-1].removeprefix('\\"').removesuffix('\\"')
    yield repr(value)[1:-1]
    yield html.escape(value)
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield value.replace("'", "'\\''")


def _broken(value: str) -> Iterator[re.Pattern[str]]:
    """Encodings that tools break into lines or columns wherever these happen to end: `env | base64`, `od -tx1`."""
    data = value.strip().encode("utf-8", "surrogateescape")
    if len(data) < _SHORTEST:
        return
    for form in dict.fromkeys(_unwrapped(data)):
        yield re.compile(r"(?:\r?\n)?".join(map(re.escape, form)))
    yield re.compile(r"\s*".join(f"{byte:02x}" for byte in data), re.IGNORECASE)


def _unwrapped(data: bytes) -> Iterator[str]:
    """The characters that depend on `data` alone, for each of the three places at which it may stand in what is
    encoded with it, in both alphabets."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(bytes(before) + data).decode()
            yield text[-(-8 * before // 6) : (before + len(data)) * 8 // 6]


def _base64(data: bytes) -> Iterator[str]:
    """As `_unwrapped`, and the lines of it where tools break them."""
    yield from _unwrapped(data)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode().rstrip("=")
        for width in _WRAPS:
            if len(whole) > width:
                yield from (whole[start : start + width] for start in range(0, len(whole), width))
