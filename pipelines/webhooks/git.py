"""Plain git: what `post_receive` sends. The signature covers the time, so that a captured push is soon worthless."""

from __future__ import annotations

import re

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
    push_of,
    text_at,
)

WINDOW = 300  # seconds that the two clocks may differ


def is_signed(call: Call, secret: str) -> bool:
    stamp = call.header("X-Burger-Timestamp")
    fresh = bool(re.fullmatch(r"[0-9]{1,12}", stamp)) and abs(call.now - int(stamp)) <= WINDOW
    same = is_same(call.header("X-Burger-Signature"), f"sha256={hmac_sha256(secret, signed(call))}")
    return same and fresh


def signed(call: Call) -> bytes:
    return call.header("X-Burger-Timestamp").encode(errors="replace") + b"." + call.body


def delivery(call: Call) -> str:
    return named_by(call, "X-Burger-Delivery")


def read(call: Call) -> Push | Nothing:
    data = payload(call.body)
    pusher = text_at(data, "pusher")
    user = account(pusher)
    known_as = f"{user.username} <{user.email}>" if user and user.email else pusher
    return push_of(
        text_at(data, "ref"),
        text_at(data, "after"),
        subject=text_at(data, "subject"),
        author=author_and_pusher(text_at(data, "author"), known_as),
        pusher=user,
    )
