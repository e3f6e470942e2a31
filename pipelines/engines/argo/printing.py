"""What would be submitted for a pipeline file, before there is a run of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipelines.definition.model import Definition
from pipelines.executors.connections import Argo, Cluster

from .manifests import FACTS, PREFIX, Order, compile_run


def documents(definition: Definition, *, namespace: str, portal: str, image: str) -> list[dict[str, Any]]:
    """The WorkflowTemplates of its stages and its Workflow, with the defaults of its parameters. Equal files give equal
    documents."""
    order = Order(
        name=definition.name,
        pipeline=definition.name,
        stages=[asdict(stage) for stage in definition.stages],
        parameters={parameter.name: parameter.default for parameter in definition.parameters},
        facts=dict.fromkeys(FACTS, ""),
        annotations={f"{PREFIX}/definition": definition.digest},
    )
    compiled = compile_run(order, Argo(Cluster("argo"), namespace, portal, image))
    return [*sorted(compiled.templates, key=lambda one: str(one["metadata"]["name"])), compiled.workflow]
