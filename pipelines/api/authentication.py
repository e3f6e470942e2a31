"""Tokens in the header `Authorization: Bearer ...`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed


class BearerToken(TokenAuthentication):
    """knox's, which only expects tokens that are text."""

    def authenticate_credentials(self, token: bytes) -> Any:
        try:
            if token.isascii():
                return super().authenticate_credentials(token)
        except AuthenticationFailed:
            pass
        raise AuthenticationFailed(
            "This token is not known here, or it has expired or was revoked; make a new one on your account page."
        )


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token from `burger token create`."}
