"""GitLab: a token in a header, `Idempotency-Key` or `X-Gitlab-Event-UUID`, push and tag push events."""

from __future__ import annotations

from typing import Any

from pipelines.runs.push import Push

from .call import (
    Call,
    Nothing,
    account,
    author_and_pusher,
    is_same,
    named_by,
    payload,
    person,
    push_of,
    text_at,
)

EVENTS = ("Push Hook", "Tag Push Hook")


def is_signed(call: Call, secret: str) -> bool:
    return is_same(call.header("X-Gitlab-Token"), secret)


def delivery(call: Call) -> str:
    """The event's UUID stays the same for all refs of one push, so older versions, which send nothing better, are
    told apart by the ref."""
    if call.header("Idempotency-Key"):
        return named_by(call, "Idempotency-Key")
    return f"{named_by(call, 'X-Gitlab-Event-UUID')} {text_at(payload(call.body), 'ref')}"


def signed(call: Call) -> bytes:
    """Nothing: a token says who calls, not what was said, and two pushes alike have the same body."""
    return b""


def read(call: Call) -> Push | Nothing:
    if call.header("X-Gitlab-Event") not in EVENTS:
        return Nothing("Only pushes start runs.")
    data = payload(call.body)
    # `checkout_sha` is the commit, also where `after` names an annotated tag; it is null when a ref was deleted.
    commit = text_at(data, "checkout_sha") or text_at(data, "after")
    head = _commit(data, commit)
    pusher = person(data, name="user_name", email="user_email")
    author = person(head.get("author"))
    return push_of(
        text_at(data, "ref"),
        commit,
        subject=text_at(head, "message"),
        author=author_and_pusher(author, pusher),
        pusher=account(text_at(data, "user_username"), text_at(data, "user_email")),
    )


def _commit(data: dict[str, Any], name: str) -> dict[str, Any]:
    commits = data.get("commits")
    found = (c for c in (commits if isinstance(commits, list) else ()) if isinstance(c, dict) and c.get("id") == name)
    return next(found, {})
