"""GitHub: an HMAC of the body, `X-GitHub-Delivery`, events `push` and `ping`."""

from __future__ import annotations

from urllib.parse import parse_qs

from pipelines.runs.push import Push

from .call import (
    Call,
    MalformedError,
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
    return is_same(call.header("X-Hub-Signature-256"), f"sha256={hmac_sha256(secret, call.body)}")


def delivery(call: Call) -> str:
    return named_by(call, "X-GitHub-Delivery")


def signed(call: Call) -> bytes:
    return call.body


def read(call: Call) -> Push | Nothing:
    event = call.header("X-GitHub-Event")
    if event == "ping":
        return Nothing("pong")
    if event != "push":
        return Nothing("Only pushes start runs.")
    data = payload(_json(call))
    if data.get("deleted") is True:
        return Nothing("The ref was deleted.")
    # For an annotated tag, `after` names the tag itself and the head commit what it points to.
    head = data.get("head_commit")
    return push_of(
        text_at(data, "ref"),
        text_at(head, "id") or text_at(data, "after"),
        subject=text_at(head, "message"),
        author=author_and_pusher(person(_in(head, "author")), person(data.get("pusher"))),
        pusher=account(text_at(data, "pusher", "name"), text_at(data, "pusher", "email")),
    )


def _in(data: object, key: str) -> object:
    return data.get(key) if isinstance(data, dict) else None


def _json(call: Call) -> bytes:
    """The message itself; GitHub can also send it as the field of a form."""
    if call.content_type != "application/x-www-form-urlencoded":
        return call.body
    try:
        fields = parse_qs(call.body, max_num_fields=10)
    except ValueError:
        raise MalformedError("The body is no form with the field payload.") from None
    return fields.get(b"payload", [b""])[0]
