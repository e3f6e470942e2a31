"""Which target an environment is on: clusters where connections.yaml says so, else this machine."""

from __future__ import annotations

from pipelines.executors import connections
from pipelines.executors.base import PlanError, StageSpec, Workplace
from pipelines.executors.rollout.target import Ground


def find(workplace: Workplace, spec: StageSpec) -> Ground:
    """Raises PlanError where `with.target` asks for what the environment is not, or `with` cannot be used."""
    if not spec.environment:
        raise PlanError(f"The stage {spec.stage} rolls out, so it needs an `environment`.")
    try:
        there = connections.load(workplace.home).environments.get(spec.environment)
    except connections.ConnectionsError as error:
        raise PlanError(str(error)) from None
    wanted = str(spec.with_.get("target") or ("kubernetes" if there else "local"))
    if wanted == "kubernetes":
        if there is None:
            raise PlanError(
                f"with.target is kubernetes, but connections.yaml does not say on which clusters the environment "
                f"{spec.environment} is. Whoever operates this installation adds it there."
            )
        from pipelines.executors.rollout.kubernetes.ground import Clusters

        return Clusters(workplace, spec, there)
    if there is not None:
        raise PlanError(
            f"with.target is {wanted}, but connections.yaml says that the environment {spec.environment} is on "
            "clusters. Let the target be kubernetes, or leave it out."
        )
    from pipelines.executors.rollout.machine import Machine

    return Machine(workplace, spec)
