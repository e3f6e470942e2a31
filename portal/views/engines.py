"""Engines: what the work is done with beyond this machine, and whether it answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pipelines.engines import connections
from teams.policy import Action, can

from .base import TeamRequest, teammate


@teammate
@never_cache
@require_safe
def page(request: TeamRequest) -> HttpResponse:
    return _show(request, {})


@teammate
@require_POST
def test(request: TeamRequest) -> HttpResponse:
    """Test the one that is named, or all of them."""
    if not (verdict := can(request.actor, Action.TEST_ENGINES)):
        raise PermissionDenied(verdict.reason)
    home, wanted = Path(settings.HOME), (request.POST.get("kind"), request.POST.get("name"))
    rows, _ = connections.listed(home)
    chosen = [row for row in rows if wanted == (None, None) or wanted == (row.kind, row.name)]
    if rows and not chosen:
        raise Http404("connections.yaml names no such engine.")
    found = _tested(home, chosen)
    if request.htmx and len(chosen) == 1:
        return render(request, "portal/_finding.html", {"finding": found[(chosen[0].kind, chosen[0].name)]})
    return _show(request, found)


def _tested(home: Path, rows: Sequence[connections.Connection]) -> dict[tuple[str, str], connections.Finding]:
    """All at once: what does not answer is waited for."""
    if not rows:
        return {}
    with ThreadPoolExecutor(len(rows)) as pool:
        findings = pool.map(lambda row: connections.tested(home, row.kind, row.name), rows)
        return {(row.kind, row.name): finding for row, finding in zip(rows, findings, strict=True)}


def _show(request: TeamRequest, found: dict[tuple[str, str], connections.Finding]) -> HttpResponse:
    rows, problem = connections.listed(Path(settings.HOME))
    verdict = can(request.actor, Action.TEST_ENGINES)
    context = {
        "rows": [(number, row, found.get((row.kind, row.name))) for number, row in enumerate(rows)],
        "problem": problem,
        "file": Path(settings.HOME) / "connections.yaml",
        "may_test": bool(verdict),
        "why_not": verdict.reason,
    }
    return render(request, "portal/engines.html", context)
