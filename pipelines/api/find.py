"""The things that addresses name, or a 404 that says what is missing."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from pipelines import selectors
from pipelines.models import Environment, Pipeline, Run, Stage
from teams.models import User
from teams.policy import Actor


def person(request: Request) -> tuple[User, Actor]:
    """Who asks, and what the policy knows of them: read once for each request."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 MemberOfATeam has made sure of it
    found = getattr(request, "_actor", None) or user.as_actor()
    request._actor = found  # type: ignore[attr-defined]
    return user, found


def run(pipeline: str, number: int) -> Run:
    try:
        return selectors.get_run(pipeline, number)
    except (Run.DoesNotExist, OverflowError):
        raise NotFound(f"There is no run {pipeline}/{number}.") from None


def stage(row: Run, name: str) -> Stage:
    try:
        return selectors.get_stage(row, name)
    except Stage.DoesNotExist:
        raise NotFound(f"Run {row.pipeline.slug}/{row.number} has no stage {_shown(name)}.") from None


def pipeline(slug: str) -> Pipeline:
    try:
        return selectors.get_pipeline(slug)
    except Pipeline.DoesNotExist:
        raise NotFound(f"There is no pipeline {slug}.") from None


def environment(of: str, name: str) -> Environment:
    try:
        return selectors.get_environment(of, name)
    except Environment.DoesNotExist:
        raise NotFound(f"There is no environment {of}/{name}.") from None


def _shown(name: str) -> str:
    return "".join(char for char in name if char.isprintable())


def paged(request: Request, page: selectors.Page, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of a list: `next` is the address of the following one, null on the last."""
    following = None
    if page.older is not None:
        query = urlencode(request.query_params.dict() | {"before": page.older})
        following = request.build_absolute_uri(f"{request.path}?{query}")
    return {"results": rows, "next": following}
