"""Measures, and compares with floors of the same run: `python -m tests.bench [names...] [--strict] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .place import ROOT
from .result import Result, from_dict

# Each is a process of its own that prints a list of results, in a home of its own.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "decide": ("tests.bench.decide",),
    "lint": ("tests.bench.lint",),
    "stages-sqlite": ("tests.bench.stages", "sqlite"),
    "stages-postgresql": ("tests.bench.stages", "postgresql"),
    "orders-sqlite": ("tests.bench.ordering", "sqlite"),
    "orders-postgresql": ("tests.bench.ordering", "postgresql"),
    "webhook": ("tests.bench.webhook",),
    "idle": ("tests.bench.idle",),
    "pages": ("tests.bench.pages",),
    "live": ("tests.bench.live",),
    "measure": ("tests.bench.measure",),
    "push": ("tests.bench.push",),
    "rollout": ("tests.bench.rollout",),
    "argo": ("tests.bench.argo",),
    "mirrored": ("tests.bench.mirrored",),
    "menu": ("tests.bench.menu",),
    "lighthouse": ("tests.bench.lighthouse",),
    "images": ("tests.bench.images",),
    "verdict": ("tests.bench.verdict",),
}


def measure(name: str) -> list[Result]:
    """The results of one benchmark. One that breaks gives a result without figures, which says so."""
    module, *arguments = BENCHMARKS[name]
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    try:
        return [from_dict(data) for data in json.loads(done.stdout)]
    except json.JSONDecodeError:
        return [Result(name, None, None, 0.0, "", note=f"it broke off with status {done.returncode}; see above")]


def row(result: Result) -> list[str]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    goal = f"{'ratio' if result.judged == 'ratio' else 'ours'} ≤ {result.goal:g}"
    verdict = {True: "held", False: "[bold]missed[/]", None: "not measured"}[result.passed]
    return [result.name, number(result.ours), number(result.floor), result.unit, number(result.ratio), goal, verdict]


def table(results: Sequence[Result]) -> Table:
    shown = Table(title="Measured here and now; docs/benchmarks.md explains each")
    for column in ("what", "ours", "floor", "unit", "ratio", "goal", ""):
        shown.add_column(column, justify="right" if column in ("ours", "floor", "ratio") else "left")
    for result in results:
        shown.add_row(*row(result))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all if none is given")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a goal is missed or was not measured")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench.json", help="where the figures are written")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(BENCHMARKS)}")
    screen = Console()
    results: list[Result] = []
    for name in options.names or BENCHMARKS:
        began = time.monotonic()
        results += measure(name)
        screen.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
    screen.print(table(results))
    for result in results:
        if result.note:
            screen.print(f"{result.name}: {result.note}", highlight=False)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([result.as_dict() for result in results], indent=2) + "\n")
    return 1 if options.strict and not all(result.passed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
