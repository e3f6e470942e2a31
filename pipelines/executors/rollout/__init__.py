"""Rollouts: one set of strategies that drives interchangeable targets.

`strategy` and `decisions` are the arithmetic, `local` is the target of processes behind Traefik, `executor`
brings both together as a kind of stage.
"""

from pipelines.executors.rollout.local.control import ensure_keeper, keeper, stop_keeper
from pipelines.executors.rollout.local.target import releases, status

__all__ = ["ensure_keeper", "keeper", "releases", "status", "stop_keeper"]
