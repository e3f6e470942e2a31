"""Teams, the audit trail, and a person's own tokens."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from knox.models import AuthToken

from pipelines import selectors
from pipelines.definition.parse import parse
from portal import forms
from teams import tokens as own_tokens
from teams.models import Team

from .base import TeamRequest, number_of, teammate

EXPIRES_SOON = timedelta(days=7)


@teammate
@require_safe
def teams(request: TeamRequest) -> HttpResponse:
    owned: dict[str, list[tuple[str, str]]] = {}
    for pipeline in selectors.pipelines():
        definition = parse(pipeline.accepted.text).definition if pipeline.accepted else None
        for stage in definition.stages if definition else ():
            owned.setdefault(stage.owner, []).append((pipeline.slug, stage.title or stage.name))
    rows = Team.objects.prefetch_related("memberships__user")
    return render(request, "portal/teams.html", {"rows": [(team, owned.get(team.slug, [])) for team in rows]})


@teammate
@require_safe
def team_colors(request: TeamRequest) -> HttpResponse:
    """A stylesheet with a class for each team: no style may stand in a page itself."""
    rules = (
        f".team-{team.slug}{{--team:light-dark({team.color},color-mix(in oklab,{team.color},white 45%))}}"
        for team in Team.objects.all()
    )
    response = HttpResponse("\n".join(rules), content_type="text/css; charset=utf-8")
    response["Cache-Control"] = "private, max-age=60"
    return response


@teammate
@require_safe
def audit_trail(request: TeamRequest) -> HttpResponse:
    form = forms.AuditFilter(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    page = selectors.audit_entries(**chosen, before=number_of(request.GET.get("before")))
    return render(request, "portal/audit.html", {"page": page, "chosen": chosen, "filtered": any(chosen.values())})


@teammate
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: TeamRequest) -> HttpResponse:
    """A person's tokens. A new one is shown in the answer to the form, and never again."""
    form, made = forms.TokenForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        try:
            _, made = own_tokens.create(user=request.user, days=form.lifetime().days)
        except own_tokens.TooMany as error:
            form.add_error(None, str(error))
    rows = AuthToken.objects.filter(user=request.user).order_by("-created")
    now = timezone.now()
    soon = [row for row in rows if row.expiry and now < row.expiry < now + EXPIRES_SOON]
    context = {"rows": rows, "form": form, "made": made, "now": now, "soon": soon}
    return render(request, "portal/tokens.html", context)


@teammate
@require_POST
def revoke(request: TeamRequest) -> HttpResponse:
    if not own_tokens.revoke(user=request.user, token=request.POST.get("token", "")[: own_tokens.ID_LENGTH]):
        raise Http404("You have no such token (any more).")
    messages.success(request, "That token does not work any more.")
    return redirect("portal:tokens")
