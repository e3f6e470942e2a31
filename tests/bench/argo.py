"""A chain and a fan of stages that do nothing on Argo, through the portal: `python -m tests.bench.argo [CHAIN] [FAN]`.

The floor is the same Workflow with the same pods, submitted to the controller directly.
"""

from __future__ import annotations

import sys

from tests.cluster.bench_argo import CHAIN, FAN, measure
from tests.cluster.facts import facts

from .result import Result, tell

GOAL = 1.1


def main() -> None:
    given = [int(word) for word in sys.argv[1:3]]
    chain, fan = given or (CHAIN, FAN)
    names = {"chain": f"Argo, chain of {chain} no-op stages", "fan": f"Argo, fan-out of {fan} no-op stages"}
    found = facts()
    if found is None or found.argo is None:
        tell([Result(name, None, None, GOAL, "s", note="no cluster is up: make cluster") for name in names.values()])
        return
    measured = measure(found, (chain, fan))
    tell([Result(name, measured[key]["portal_s"], measured[key]["bare_s"], GOAL, "s") for key, name in names.items()])


if __name__ == "__main__":
    main()
