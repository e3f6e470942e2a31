"""Handing the stages of a run to Argo: which ones, under which name, exactly once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from pipelines.executors.connections import Argo
from pipelines.executors.kubernetes.errors import Conflict
from pipelines.executors.kubernetes.names import MANAGED_BY, MANAGER
from pipelines.models import Run, Workflow
from pipelines.runs.advance import lock
from pipelines.snapshots import Row, graph_of
from pipelines.states import ENDED

from .manifests import API, INSTALLATION, PREFIX, RUN, Compiled, Order, compile_run
from .nodes import Summary

KIND = f"{API}/Workflow"
MOST = 40  # Workflows of one run, after which something is wrong with all of them


def installation() -> str:
    """What tells our Workflows from those of another portal on the same cluster."""
    return hashlib.sha256(f"burger-stack.argo:{settings.SECRET_KEY}".encode()).hexdigest()[:10]


def name_of(run: Run, serial: int) -> str:
    """The same each time it is asked for; never that of another run, even where a database was put back."""
    mark = hashlib.sha256(f"{installation()} {run.pk} {run.created_at.isoformat()}".encode()).hexdigest()[:6]
    name = f"{run.pipeline.slug[:36].rstrip('-')}-{run.number}-{mark}"
    return name if serial == 1 else f"{name}-{serial}"


def missing(run: Run, rows: list[Row], workflows: Mapping[str, Workflow], seen: Mapping[str, Summary]) -> list[int]:
    """The positions of stages that are to be done and that no Workflow will do, as far as their time has come: those
    that they need have ended, or come with them."""
    graph, _ = graph_of(run)
    carried = _carried(workflows, seen)
    waiting = [position for position, row in enumerate(rows) if row.state not in ENDED]
    chosen = {position for position in waiting if graph.nodes[position].name not in carried}
    open_ones = set(waiting)
    while chosen:
        main_left = {p for p in open_ones - chosen if not graph.nodes[p].on_exit}
        early = {
            position
            for position in chosen
            if any(need in open_ones - chosen for need in graph.nodes[position].needs)
            or (graph.nodes[position].on_exit and main_left)
        }
        if not early:
            break
        chosen -= early
    return sorted(chosen)


def _carried(workflows: Mapping[str, Workflow], seen: Mapping[str, Summary]) -> set[str]:
    """The stages that some Workflow still means to do, or does."""
    carried: set[str] = set()
    for name, workflow in workflows.items():
        stages = {stage for stages in workflow.tasks.values() for stage in stages}
        found = seen.get(name)
        if found is None:  # not seen yet
            carried |= stages
        elif not found.ended:
            carried |= {stage for stage in stages if stage not in found.stages or not found.stages[stage].ended}
    return carried


def prepare(run: int, positions: Iterable[int], argo: Argo) -> Workflow | None:
    """Write down that these stages are about to be submitted, before they are. None if that cannot be."""
    with transaction.atomic():
        locked = lock(run)
        serial = Workflow.objects.filter(run=run).count() + 1
        if serial > MOST:
            return None
        name = name_of(locked, serial)
        compiled = _compiled(locked, name, set(positions), argo)
        return Workflow.objects.create(run=locked, serial=serial, name=name, tasks=dict(compiled.tasks))


def _compiled(run: Run, name: str, positions: set[int], argo: Argo) -> Compiled:
    _, definitions = graph_of(run)
    chosen = [definition for position, definition in enumerate(definitions) if position in positions]
    left = {definition["name"] for position, definition in enumerate(definitions) if position not in positions}
    facts = {
        "branch": run.branch,
        "commit": run.commit,
        "number": str(run.number),
        "ref": run.ref,
        "tag": run.tag,
        "trigger": run.trigger,
    }
    order = Order(
        name=name,
        pipeline=run.pipeline.slug,
        stages=chosen,
        ended=frozenset(left),
        parameters=run.parameters,
        facts=facts,
        labels={
            MANAGED_BY: MANAGER,
            INSTALLATION: installation(),
            RUN: f"{run.pipeline.slug}-{run.number}",
        },
        annotations={
            f"{PREFIX}/owner": run.pipeline.owner,
            f"{PREFIX}/definition": run.definition.digest if run.definition else "",
            f"{PREFIX}/commit": run.commit,
            f"{PREFIX}/page": f"{settings.PUBLIC_URL}/runs/{run.pipeline.slug}/{run.number}",
        },
    )
    return compile_run(order, argo)


def submit(workflow: Workflow, client: Any, argo: Argo) -> dict[str, Any]:
    """Create it in the cluster, or find it there; returns it. Safe to repeat: a crash in between gives one."""
    run = Run.objects.select_related("pipeline", "definition").get(pk=workflow.run_id)
    stages = {stage for stages in workflow.tasks.values() for stage in stages}
    _, definitions = graph_of(run)
    positions = {position for position, definition in enumerate(definitions) if definition["name"] in stages}
    compiled = _compiled(run, workflow.name, positions, argo)
    for template in compiled.templates:
        _ensure(client, template)
    try:
        made = dict(client.create(compiled.workflow))
    except Conflict:
        found = client.get(KIND, workflow.name)
        if found is None or (found["metadata"].get("labels") or {}).get(INSTALLATION) != installation():
            raise
        made = dict(found)
    Workflow.objects.filter(pk=workflow.pk).update(uid=made["metadata"]["uid"])
    return made


_ensured: set[tuple[str, str]] = set()


def _ensure(client: Any, template: dict[str, Any]) -> None:
    """Its name says its content, so one that is there already is the same."""
    mark = (client.server, template["metadata"]["name"])
    if mark in _ensured:
        return
    try:
        client.create(template)
    except Conflict as conflict:
        if conflict.reason != "AlreadyExists":
            raise
    _ensured.add(mark)


def patch(client: Any, workflow: str, body: dict[str, Any]) -> None:
    """A merge patch of a Workflow, its status included. Raises Refused, ClusterAway."""
    path = f"/apis/{API}/namespaces/{client.namespace}/workflows/{workflow}"
    query = {"fieldManager": MANAGER}
    client.raw("PATCH", path, query, body, "application/merge-patch+json", f"patch Workflow/{workflow}")
