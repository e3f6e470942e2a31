"""What a Workflow refers to on its cluster runs with the accounts that it names itself: whether they are the team's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.executors.base import PlanError

from .accounts import accounts_in
from .order import Order, refuse_account

# (kind, name) answers with the object of the place's cluster, None if there is none.
Find = Callable[[str, str], Mapping[str, Any] | None]


def refers(wanted: Order) -> bool:
    """Whether it refers to anything on its cluster."""
    return any(_called(wanted.manifest["spec"], ("", "")))


def refuse_foreign_accounts(wanted: Order, team: str, find: Find) -> None:
    """Follows references from template to template. Raises PlanError, and what `find` raises."""
    documents: dict[tuple[str, str], Mapping[str, Any]] = {}
    seen: set[tuple[str, str, str]] = set()
    waiting = list(_called(wanted.manifest["spec"], ("", "")))
    while waiting:
        kind, name, template = key = waiting.pop()
        if key in seen or not kind:
            continue
        seen.add(key)
        if "{{" in f"{name}{template}":
            raise PlanError(
                f"It refers to {name}/{template}, which is filled in while it runs, so nobody can say with whose "
                "service account that works. Name the template."
            )
        spec = documents.get((kind, name))
        if spec is None:
            spec = documents[kind, name] = _spec(find(kind, name), kind, name)
        for body in _templates(spec, template):
            for by, account in accounts_in(body):
                refuse_account(wanted.place, team, by, account, f"{kind} {name}, to which it refers,")
            waiting += _called(body, (kind, name))


def _spec(found: Mapping[str, Any] | None, kind: str, name: str) -> Mapping[str, Any]:
    if found is None:
        raise PlanError(f"It refers to {kind} {name}, and its cluster has none of that name there.")
    return found.get("spec") or {}


def _templates(spec: Mapping[str, Any], wanted: str) -> list[Mapping[str, Any]]:
    """The one of this name, or, for "", all that a Workflow takes over with the document."""
    templates = [one for one in spec.get("templates") or () if isinstance(one, dict)]
    if wanted:
        return [one for one in templates if one.get("name") == wanted]
    # What it says of itself as a whole is the Workflow's, whose own account wins over that of what it refers to.
    rest = {key: value for key, value in spec.items() if key not in ("templates", "serviceAccountName")}
    return [*templates, rest]


def _called(value: Any, within: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """(kind, document, template) of everything that is called in here; `within` is the document that it stands in."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack += one
        elif isinstance(one, dict):
            for key, item in one.items():
                if key in ("templateRef", "workflowTemplateRef") and isinstance(item, dict):
                    kind = "ClusterWorkflowTemplate" if item.get("clusterScope") else "WorkflowTemplate"
                    yield kind, str(item.get("name") or ""), str(item.get("template") or "")
                elif key in ("template", "onExit") and isinstance(item, str) and within[0]:
                    yield *within, item
                stack.append(item)
