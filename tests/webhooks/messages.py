"""Messages as each provider sends them, signed with a secret. Shortened from their documentation."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

COMMIT = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
BEFORE = "95790bf891e76fee5e1747ab589903a6a1f80f22"
NONE = "0" * 40


@dataclass
class Message:
    provider: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/hooks/{self.provider}/demo"


def signature(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def github(
    secret: str, *, event: str = "push", delivery: str = "72d3162e-cc78", body: bytes = b"", **change: Any
) -> Message:
    data = {
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": COMMIT,
        "created": False,
        "deleted": False,
        "head_commit": {
            "id": COMMIT,
            "message": "Add pickles\n\nMany of them",
            "author": {"name": "Ann", "email": "ann@example.com", "username": "ann"},
        },
        "pusher": {"name": "ann", "email": "ann@example.com"},
        "repository": {"full_name": "burger/shop", "pushed_at": 1_700_000_000},
    } | change
    body = body or json.dumps(data).encode()
    headers = {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature(secret, body)}",
    }
    return Message("github", body, headers)


def gitlab(
    secret: str, *, event: str = "Push Hook", delivery: str = "13792a34-cac6", body: bytes = b"", **change: Any
) -> Message:
    data = {
        "object_kind": "push",
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": COMMIT,
        "checkout_sha": COMMIT,
        "user_name": "Ann",
        "user_email": "ann@example.com",
        "commits": [{"id": COMMIT, "message": "Add pickles", "author": {"name": "Ann", "email": "ann@example.com"}}],
    } | change
    headers = {"X-Gitlab-Event": event, "X-Gitlab-Event-UUID": delivery, "X-Gitlab-Token": secret}
    return Message("gitlab", body or json.dumps(data).encode(), headers)


def gitea(
    secret: str, *, event: str = "push", delivery: str = "f6266f16-1bf3", body: bytes = b"", **change: Any
) -> Message:
    data = {
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": COMMIT,
        "head_commit": {"id": COMMIT, "message": "Add pickles", "author": {"name": "Ann", "email": "ann@example.com"}},
        "pusher": {"login": "ann", "full_name": "Ann", "email": "ann@example.com"},
    } | change
    body = body or json.dumps(data).encode()
    headers = {"X-Gitea-Event": event, "X-Gitea-Delivery": delivery, "X-Gitea-Signature": signature(secret, body)}
    return Message("gitea", body, headers)


def git(
    secret: str, *, delivery: str = "b9e5f1c2-0000", body: bytes = b"", age: float = 0.0, stamp: str = "", **change: Any
) -> Message:
    data = {
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": COMMIT,
        "subject": "Add pickles",
        "author": "Ann <ann@example.com>",
    } | change
    body = body or json.dumps(data).encode()
    stamp = stamp or str(int(time.time() - age))
    headers = {
        "X-Burger-Timestamp": stamp,
        "X-Burger-Delivery": delivery,
        "X-Burger-Signature": f"sha256={signature(secret, stamp.encode(errors='replace') + b'.' + body)}",
    }
    return Message("git", body, headers)


Make = Callable[..., Message]
MAKERS: dict[str, Make] = {"github": github, "gitlab": gitlab, "gitea": gitea, "git": git}
