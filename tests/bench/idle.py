"""What the whole installation costs while nothing happens: `python -m tests.bench.idle`. Linux only.

The processor time of all its processes, the supervisor's included, over some seconds, in percent of one core.
"""

from __future__ import annotations

import time

import psutil

from .place import everything, home
from .result import Result, tell

SETTLE = 6.0  # seconds: what starts is not idle
SECONDS = 20.0
GOAL = 3.0  # percent of one core


def processes(root: int) -> list[psutil.Process]:
    top = psutil.Process(root)
    return [top, *top.children(recursive=True)]


def used(root: int) -> dict[tuple[int, float], float]:
    """Seconds by process; what ended ones used is in their parents' account."""
    found = {}
    for process in processes(root):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid, process.create_time()] = sum(times[:4])
    return found


def name_of(pid: int) -> str:
    command = " ".join(psutil.Process(pid).cmdline())
    names = ("uvicorn", "workers", "sweeper", "Supervisor")
    return next((name for name in names if name in command), command[:40])


def main() -> None:
    with home(), everything() as supervisor:
        time.sleep(SETTLE)
        before, began = used(supervisor.pid), time.monotonic()
        time.sleep(SECONDS)
        after, took = used(supervisor.pid), time.monotonic() - began
        shares: dict[str, float] = {}
        for process, seconds in after.items():
            name = name_of(process[0])
            shares[name] = shares.get(name, 0.0) + (seconds - before.get(process, 0.0)) / took * 100
    note = ", ".join(f"{name} {share:.1f}" for name, share in shares.items())
    tell([Result("idle, everything", sum(shares.values()), None, GOAL, "% of a core", judged="ours", note=note)])


if __name__ == "__main__":
    main()
