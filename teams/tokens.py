"""A person's API tokens: hashed, expiring, several for each person. The one door to make and to revoke them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from knox.models import AuthToken

from . import audit
from .models import User

MOST = 50
ID_LENGTH = 16  # of the hash that is stored of a token: enough to name it, useless to use it


class TooMany(Exception):
    """The person has as many tokens as anybody may have."""


def token_id(token: AuthToken) -> str:
    return token.digest[:ID_LENGTH]


def create(*, user: User, days: int) -> tuple[AuthToken, str]:
    """A token that expires after so many days, and its text, which is never to be had again. Raises TooMany."""
    if AuthToken.objects.filter(user=user).count() >= MOST:
        raise TooMany(f"You have {MOST} tokens already; revoke one that you do not use.")
    token, text = AuthToken.objects.create(user=user, expiry=timedelta(days=days))
    _record(user, "create-token", token, days=days)
    return token, text


def revoke(*, user: User, token: str) -> bool:
    """Take back one of the person's own tokens, named by its id. False where there is none of that id."""
    if len(token) != ID_LENGTH or "\0" in token:
        return False
    found = AuthToken.objects.filter(user=user, digest__startswith=token).first()
    if found is None:
        return False
    _record(user, "revoke-token", found)
    found.delete()
    return True


def _record(user: User, action: str, token: AuthToken, **data: Any) -> None:
    audit.write(actor=user.username, action=action, target=f"token:{token_id(token)}", **data)
