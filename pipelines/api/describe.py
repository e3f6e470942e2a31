"""One short decorator for the OpenAPI document, so that each view says its body, query and answer in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema

from . import shapes
from .bodies import Body

F = TypeVar("F", bound=Callable[..., Any])


def described(
    summary: str,
    answer: Any,
    *,
    body: type[Body] | None = None,
    query: type[Body] | None = None,
    status: int = 200,
    name: str | None = None,
) -> Callable[[F], F]:
    """`answer` is a Shape, or None where nothing is answered; `name` is the operation's, made from its address if
    None."""
    wrong = dict.fromkeys((400, 401, 403, 404), shapes.Wrong) | ({409: shapes.Wrong} if body else {})
    return extend_schema(
        operation_id=name,
        summary=summary,
        request=body,
        parameters=[query] if query else [],
        responses={status: answer} | wrong,
    )
