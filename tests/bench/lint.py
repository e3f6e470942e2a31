"""How long it takes to check a pipeline file of 10,000 stages: `python -m tests.bench.lint`.

The floor is PyYAML's reader in C, which builds the same mappings and lists and checks nothing.
"""

from __future__ import annotations

import time

import yaml

from pipelines.definition.bench import large_file, seconds_to_lint

from .result import Result, median, tell

STAGES = 10_000
ROUNDS = 3
GOAL = 2.0  # seconds


def seconds_to_read(text: str) -> float:
    began = time.perf_counter()
    yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe ones
    return time.perf_counter() - began


def main() -> None:
    text = large_file(STAGES)
    ours, floors = [], []
    for _ in range(ROUNDS):
        floors.append(seconds_to_read(text))
        ours.append(seconds_to_lint(STAGES, rounds=1))
    tell([Result(f"lint of {STAGES:,} stages", median(ours), median(floors), GOAL, "s", judged="ours")])


if __name__ == "__main__":
    main()
