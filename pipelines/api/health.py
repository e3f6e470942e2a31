"""Whether the installation works, for whoever watches it from outside: no names, no versions, no sign-in."""

from __future__ import annotations

from datetime import datetime

from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipelines.models import Beat, Delivery

from . import shapes
from .describe import described

SILENT = 15.0  # seconds without a sign of the sweeper that are too many
WRITTEN = 3.0  # seconds since its last one that prove that the database takes writes


class HealthView(APIView):
    permission_classes = [AllowAny]
    authentication_classes = []

    @described("Whether everything works", shapes.Health)
    def get(self, request: Request) -> Response:
        """Answers 503 when it does not, with the same fields."""
        try:
            beat = Beat.objects.filter(name="sweeper").first()
            pushes = Delivery.objects.filter(open=True).count()
        except (DatabaseError, InterfaceError):
            broken = {"ok": False, "database": "unavailable", "sweeper_seconds": None, "waiting_pushes": None}
            return Response(broken, status=503)
        now = timezone.now()
        silent = (now - beat.at).total_seconds() if beat else None
        writable = (silent is not None and silent < WRITTEN) or _takes_writes(now)
        ok = writable and silent is not None and silent < SILENT
        database = "ok" if writable else "takes no writes"
        body = {"ok": ok, "database": database, "sweeper_seconds": silent, "waiting_pushes": pushes}
        return Response(body, status=200 if ok else 503)


def _takes_writes(now: datetime) -> bool:
    """A full or read-only disk still answers what is asked of it. Strangers ask here: so nothing is written as long as
    the sweeper does."""
    try:
        Beat.objects.update_or_create(name="health", defaults={"at": now})
    except (DatabaseError, InterfaceError):
        return False
    return True
