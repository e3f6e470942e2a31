"""Gitea and Forgejo: a hex HMAC of the body, `X-Gitea-Delivery`, event `push`."""

from __future__ import annotations

from pipelines.runs.push import Push

from .call import (
    Call,
    Nothing,
    account,
    author_and_pusher,
    hmac_sha256,
    is_same,
    named_by,
    payload,
    person,
    push_of,
    text_at,
)


def is_signed(call: Call, secret: str) -> bool:
    return is_same(call.header("X-Gitea-Signature"), hmac_sha256(secret, call.body))


def delivery(call: Call) -> str:
    return named_by(call, "X-Gitea-Delivery")


def signed(call: Call) -> bytes:
    return call.body


def read(call: Call) -> Push | Nothing:
    if call.header("X-Gitea-Event") != "push":
        return Nothing("Only pushes start runs.")
    data = payload(call.body)
    head = data.get("head_commit")
    author = head.get("author") if isinstance(head, dict) else None
    return push_of(
        text_at(data, "ref"),
        text_at(head, "id") or text_at(data, "after"),
        subject=text_at(head, "message"),
        author=author_and_pusher(person(author), person(data.get("pusher"), name="full_name")),
        pusher=account(text_at(data, "pusher", "login"), text_at(data, "pusher", "email")),
    )
