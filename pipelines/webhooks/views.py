"""The address that providers call. No body is read into, and nothing written, before its signature is checked."""

from __future__ import annotations

import hashlib
import secrets
import time

from django.http import HttpRequest, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from pipelines.models import Pipeline
from pipelines.runs import receive

from .call import Call, MalformedError, Nothing
from .limit import HOOK_LIMIT, TOO_LARGE
from .providers import PROVIDERS, Provider

# Checked in place of a pipeline's own where there is none, so that both cases take the same time.
_NOBODYS_SECRET = secrets.token_urlsafe(32)
_REFUSED = "The signature is missing or does not match. Compare the webhook's secret with the pipeline's."


@csrf_exempt
def hook(request: HttpRequest, provider: str, pipeline: str) -> JsonResponse:
    """202 for a new delivery, 200 for one that is known; the answer is the same for known and unknown pipelines until
    the signature has been found right."""
    if request.method != "POST":
        response = _answer(405, f"A webhook is called with POST, not {request.method}.")
        response["Allow"] = "POST"
        return response
    source = PROVIDERS.get(provider)
    if source is None:
        return _answer(404, f"Webhooks come from one of {', '.join(PROVIDERS)}.")
    body = _body(request)
    if isinstance(body, JsonResponse):
        return body
    call = Call(request.headers, body, time.time())
    row = Pipeline.objects.filter(slug=pipeline).first()
    secret = (row and row.webhook_secret) or _NOBODYS_SECRET
    if not source.is_signed(call, secret) or row is None:
        return _answer(401, _REFUSED)
    try:
        return _take(row, provider, source, call)
    except MalformedError as error:
        return _answer(400, str(error))


def _body(request: HttpRequest) -> bytes | JsonResponse:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length) > HOOK_LIMIT:
        return _answer(413, TOO_LARGE.format(limit=HOOK_LIMIT // 2**20))
    try:
        body = request.read(HOOK_LIMIT + 1)
    except UnreadablePostError:
        return _answer(400, "The body did not arrive as a whole.")
    return body if len(body) <= HOOK_LIMIT else _answer(413, TOO_LARGE.format(limit=HOOK_LIMIT // 2**20))


def _take(pipeline: Pipeline, provider: str, source: Provider, call: Call) -> JsonResponse:
    push = source.read(call)
    if isinstance(push, Nothing):
        return _answer(200 if push.reason == "pong" else 202, push.reason)
    delivery = source.delivery(call)
    if len(delivery) > 200:
        delivery = hashlib.sha256(delivery.encode()).hexdigest()
    signed = source.signed(call)
    fingerprint = hashlib.sha256(signed).hexdigest() if signed else ""
    row, created = receive(pipeline, push, provider=provider, delivery=delivery, fingerprint=fingerprint)
    words = "A worker fetches the commit now." if created else "This delivery is known already."
    return JsonResponse({"detail": words, "delivery": row.delivery, "id": row.pk}, status=202 if created else 200)


def _answer(status: int, sentence: str) -> JsonResponse:
    return JsonResponse({"detail": sentence}, status=status)
