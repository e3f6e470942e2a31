"""What every provider's module works with: the request as it came, and safe ways to read it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.engines.addresses import RefusedInputError, check_commit, check_ref
from pipelines.runs.push import PUSHED_BY, Push
from teams.models import User

NAME_LIMIT = 100
SUBJECT_LIMIT = 300


class MalformedError(ValueError):
    """The message is signed and yet cannot be used. Its sentence is for whoever set the webhook up."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `headers` finds names in any case; `now` is in seconds since 1970."""

    headers: Mapping[str, str]
    body: bytes
    now: float

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def content_type(self) -> str:
        return self.header("Content-Type").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Nothing:
    """A message that starts no run, and why."""

    reason: str


def hmac_sha256(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_same(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing about either, not even a length."""
    one, other = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (given, expected))
    return hmac.compare_digest(one, other)


def named_by(call: Call, *headers: str) -> str:
    """The delivery's id from the first of these headers that is there. Raises MalformedError."""
    found = next((value for name in headers if (value := call.header(name))), "")
    if not re.fullmatch(r"[!-~]{1,160}", found):
        raise MalformedError(f"The header {headers[0]} is missing or no delivery id; nothing can tell a repeat then.")
    return found


def payload(text: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises MalformedError."""
    try:
        data = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise MalformedError("The body is no JSON text in UTF-8.") from None
    if not isinstance(data, dict):
        raise MalformedError("The body is JSON, but no object.")
    return data


def text_at(data: Any, *path: str, limit: int = SUBJECT_LIMIT) -> str:
    """The text at a path of keys, on one line and without anything that cannot be shown or stored; "" if none."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, str):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in data.partition("\n")[0][: limit * 2])
    return shown.strip()[:limit]


def person(data: Any, *, name: str = "name", email: str = "email") -> str:
    """ "Name <address>", or as much of it as is known."""
    # Nobody's name may read as if somebody else had pushed.
    told = (text_at(data, key, limit=NAME_LIMIT).replace(PUSHED_BY, " ") for key in (name, email))
    who, address = (re.sub(r"[<>]", "", text).strip() for text in told)
    return f"{who} <{address}>".strip() if address else who


def author_and_pusher(author: str, pusher: str) -> str:
    """Both are named where they differ: neither may approve what they brought in together."""
    if not author or not pusher or author.lower() == pusher.lower():
        return author or pusher
    address = pusher.rpartition("<")[2]
    if address.endswith(">") and f"<{address}".lower() in author.lower():
        return author
    both = f"{author}{PUSHED_BY}{pusher}"
    return both if len(both) <= SUBJECT_LIMIT else pusher


def account(name: str, address: str = "") -> User | None:
    """Whose account at the provider pushed: who is called so here, else who has that address. Not by a name that people
    give themselves."""
    named = User.objects.filter(username=name).first() if name else None
    return named or (User.objects.filter(email__iexact=address).first() if address else None)


def push_of(
    ref: str, commit: str, *, subject: str = "", author: str = "", pusher: User | None = None
) -> Push | Nothing:
    """The push of a branch or a tag. Raises MalformedError for names that are none."""
    try:
        check_ref(ref)
        check_commit(commit)
    except RefusedInputError as error:
        raise MalformedError(str(error)) from error
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        return Nothing(f"{ref} is neither a branch nor a tag.")
    if not commit.strip("0"):
        return Nothing(f"{ref} was deleted.")
    return Push(ref=ref, commit=commit, subject=subject, author=author, requested_by=pusher)
