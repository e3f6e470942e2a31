"""Rollouts: one set of strategies that drives interchangeable targets.

`strategy` and `decisions` are the arithmetic, `local` is the target of processes behind Traefik, `kubernetes` that of
clusters, `executor` brings them together as a kind of stage.
"""

from pipelines.executors.rollout.local.control import configure, ensure_keeper, keeper, serves, stop_keeper
from pipelines.executors.rollout.shown import address, releases, retire, status

__all__ = ["address", "configure", "ensure_keeper", "keeper", "releases", "retire", "serves", "status", "stop_keeper"]
