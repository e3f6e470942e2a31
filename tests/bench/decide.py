"""How long the next decisions about a large run take: `python -m tests.bench.decide`. Pure computing, no database."""

from __future__ import annotations

import time

from pipelines import dag
from pipelines.states import State

from .result import Result, median, tell

STAGES = 10_000
ROUNDS = 21
GOAL = 50.0  # ms
LINEAR = 1.3  # the cost of a stage among 20,000, by that of one among 2,000


def snapshot(stages: int) -> dag.Snapshot:
    """The worst moment of a large run: its first stage has failed, and every other one falls with it, one because of
    another. Each needs the one before and one far before; some have a gate or an environment."""
    nodes = tuple(
        dag.Node(
            name=f"s{i}",
            needs=tuple(sorted({i - 1, i // 2})) if i else (),
            gated=i % 6 == 0,
            environment="staging" if i % 6 == 1 else None,
        )
        for i in range(stages)
    )
    return dag.Snapshot(
        graph=dag.Graph(nodes, dag.leaves(nodes)),
        states=[State.FAILED.value, *[State.PENDING.value] * (stages - 1)],
        reasons=[""] * stages,
        planned=[False] * stages,
        approved=[False] * stages,
    )


def bare_loop(snapshot: dag.Snapshot) -> int:
    """Look at every need of every stage, and decide nothing."""
    states, met = snapshot.states, 0
    for node in snapshot.graph.nodes:
        for need in node.needs:
            met += states[need] == State.SUCCEEDED
    return met


def milliseconds(act: object, given: dag.Snapshot) -> float:
    began = time.perf_counter()
    act(given)  # type: ignore[operator]
    return (time.perf_counter() - began) * 1000


def main() -> None:
    small, middle, large = (snapshot(stages) for stages in (2_000, STAGES, 20_000))
    decided = len(dag.decide(middle))
    if decided != STAGES - 1:
        raise RuntimeError(f"{decided} decisions came out, expected {STAGES - 1}; the figures would mean nothing.")
    ours, floors, few, many = [], [], [], []
    for _ in range(ROUNDS):
        floors.append(milliseconds(bare_loop, middle))
        ours.append(milliseconds(dag.decide, middle))
        few.append(milliseconds(dag.decide, small) / 2_000 * 1000)
        many.append(milliseconds(dag.decide, large) / 20_000 * 1000)
    tell(
        [
            Result(f"dag.decide on {STAGES:,} stages", median(ours), median(floors), GOAL, "ms", judged="ours"),
            Result("dag.decide, a stage of 20,000 by one of 2,000", median(many), median(few), LINEAR, "µs"),
        ]
    )


if __name__ == "__main__":
    main()
