"""How long a large pipeline file takes: run `python -m pipelines.definition.bench`."""

from __future__ import annotations

import time

from pipelines.definition.parse import parse


def large_file(stages: int = 10_000) -> str:
    """A file of less than 1 MiB in which each stage needs the one before and one far before."""
    lines = ["name: large", "parameters: {fast: 'no'}", "stages:", "- {name: s0, kind: source, owner: dev}"]
    for number in range(1, stages):
        needs = ", ".join(f"s{other}" for other in sorted({number - 1, number // 2}))
        what = f"kind: command, owner: dev, needs: [{needs}], with: {{command: [make, t]}}"
        lines.append(f"- {{name: s{number}, {what}}}")
    return "\n".join(lines) + "\n"


def seconds_to_lint(stages: int = 10_000, rounds: int = 3) -> float:
    """The fastest of some rounds, in seconds. Raises ValueError if the file has problems."""
    text = large_file(stages).encode()
    fastest = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        result = parse(text, teams={"dev", "ops", "platform"})
        fastest = min(fastest, time.perf_counter() - began)
        if result.problems:
            raise ValueError(f"the generated file has problems: {result.problems[0]}")
    return fastest


if __name__ == "__main__":
    print(f"{10_000:,} stages: {seconds_to_lint():.2f} s")
