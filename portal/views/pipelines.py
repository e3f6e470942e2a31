"""Pipelines: who owns which stage, the versions of the file, and where pushes come in."""

from __future__ import annotations

import difflib
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from pipelines import manage, runs, selectors
from pipelines.definition.model import Definition
from pipelines.definition.parse import parse
from pipelines.models import DefinitionVersion, Pipeline
from portal import forms
from teams.policy import Action, Subject, can

from .base import TeamRequest, find_pipeline, number_of, teammate

PROVIDERS = ("github", "gitlab", "gitea", "git")


@teammate
@require_safe
def all_of_them(request: TeamRequest) -> HttpResponse:
    return render(request, "portal/pipelines.html", {"rows": selectors.pipelines(), "example": _example()})


def _example() -> str:
    """The command that adds a pipeline."""
    fields = '{"slug": "shop", "owner": "dev", "repository": "https://git.example.com/shop.git"}'
    return (
        f"curl -X POST {settings.PUBLIC_URL}/api/pipelines -H 'Authorization: Bearer '$BURGER_TOKEN "
        f"-H 'Content-Type: application/json' -d '{fields}'"
    )


@teammate
@require_safe
def one(request: TeamRequest, slug: str) -> HttpResponse:
    return _show(request, find_pipeline(slug))


def _show(request: TeamRequest, pipeline: Pipeline, *, problem: str = "", status: int = 200) -> HttpResponse:
    definition = parse(pipeline.accepted.text).definition if pipeline.accepted else None
    versions = selectors.definitions_of(pipeline, before=number_of(request.GET.get("versions")))
    deliveries = selectors.deliveries_of(pipeline, before=number_of(request.GET.get("deliveries")))
    subject = Subject(pipeline_owner=pipeline.owner, teams=_owners(definition))
    context = {
        "pipeline": pipeline,
        "definition": definition,
        "versions": versions,
        "deliveries": deliveries,
        "addresses": [(one, f"{settings.PUBLIC_URL}/hooks/{one}/{pipeline.slug}") for one in PROVIDERS],
        "may_manage": can(request.actor, Action.MANAGE_PIPELINE, subject),
        "may_start": can(request.actor, Action.START, subject),
        "problem": problem,
    }
    return render(request, "portal/pipeline.html", context, status=status)


def _owners(definition: Definition | None) -> frozenset[str]:
    return frozenset(stage.owner for stage in definition.stages) if definition else frozenset()


@teammate
@require_safe
def version(request: TeamRequest, slug: str, digest: str) -> HttpResponse:
    pipeline = find_pipeline(slug)
    try:
        found = selectors.get_definition(pipeline, f"sha256:{digest}")
    except DefinitionVersion.DoesNotExist:
        raise Http404(f"Pipeline “{slug}” has no version {digest[:12]}.") from None
    context: dict[str, Any] = {"pipeline": pipeline, "version": found, "diff": _changes(pipeline, found)}
    return render(request, "portal/definition.html", context)


def _changes(pipeline: Pipeline, version: DefinitionVersion) -> str:
    """How it differs from the version that was there before it."""
    before = pipeline.definitions.filter(pk__lt=version.pk).order_by("-id").first()
    if before is None:
        return ""
    lines = difflib.unified_diff(
        before.text.splitlines(), version.text.splitlines(), before.digest[7:19], version.digest[7:19], lineterm=""
    )
    return "\n".join(lines)


@teammate
@require_POST
def new_secret(request: TeamRequest, slug: str) -> HttpResponse:
    pipeline = find_pipeline(slug)
    try:
        manage.new_webhook_secret(pipeline=pipeline, user=request.user)
    except runs.NotAllowed as refusal:
        return _show(request, pipeline, problem=str(refusal), status=403)
    messages.success(request, "There is a new secret; give it to your git server, the old one counts no more.")
    return redirect("portal:pipeline", pipeline.slug)


@teammate
@require_POST
def start(request: TeamRequest, slug: str) -> HttpResponse:
    pipeline = find_pipeline(slug)
    form = forms.StartForm(request.POST)
    if not form.is_valid():
        problem = "Name a branch or tag; a commit has 40 hex digits."
        return _show(request, pipeline, problem=problem, status=400)
    given = {key.removeprefix("parameter-"): str(value) for key, value in request.POST.items() if "parameter-" in key}
    ref = form.cleaned_data["ref"]
    try:
        runs.request(
            pipeline=pipeline,
            user=request.user,
            ref=ref if ref.startswith("refs/") else f"refs/heads/{ref}",
            commit=form.cleaned_data["commit"],
            parameters=given,
        )
    except (runs.NotAllowed, runs.Conflict) as refusal:
        status = 403 if isinstance(refusal, runs.NotAllowed) else 409
        return _show(request, pipeline, problem=str(refusal), status=status)
    messages.success(request, f"A run of {ref} was asked for; it appears in the list of runs in a moment.")
    return redirect("portal:pipeline", pipeline.slug)
