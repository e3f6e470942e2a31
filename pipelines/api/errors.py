"""From what the core raises to what a program is answered: always `detail`, a sentence, and `fields` where a body or
a query was wrong."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from pipelines.runs import Conflict, NotAllowed
from pipelines.states import IllegalTransition


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, NotAllowed):
        return Response({"detail": _sayable(str(error))}, status=403)
    if isinstance(error, Conflict | IllegalTransition):
        return Response({"detail": _sayable(str(error))}, status=409)
    if isinstance(error, ValidationError):
        return Response(_invalid(error.detail), status=400)
    if isinstance(error, RecursionError):
        return Response({"detail": "The body is nested too deeply."}, status=400)
    if isinstance(error, RequestDataTooBig):
        return Response({"detail": "The body is too large."}, status=413)
    return exception_handler(error, context)


def _invalid(detail: Any) -> dict[str, Any]:
    if not isinstance(detail, dict):
        return {"detail": " ".join(_sentences(detail))}
    fields = {_sayable(str(name)): _sentences(found) for name, found in detail.items()}
    general = fields.pop("non_field_errors", [])
    words = general + [f"{name}: {sentences[0]}" for name, sentences in fields.items()]
    answer: dict[str, Any] = {"detail": " ".join(words)}
    return answer | ({"fields": fields} if fields else {})


def _sentences(found: Any) -> list[str]:
    if isinstance(found, str | ErrorDetail):
        return [_sayable(str(found))]
    if isinstance(found, dict):
        return [_sayable(f"{name}: {sentence}") for name, inner in found.items() for sentence in _sentences(inner)]
    return [sentence for inner in found for sentence in _sentences(inner)] or ["Invalid."]


def _sayable(text: str) -> str:
    """What was sent may be half a character, which cannot be sent back."""
    return text.encode(errors="backslashreplace").decode()
