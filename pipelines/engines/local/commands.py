"""The commands of stages go on when the workers end, so that the next ones join them. This ends them too."""

from __future__ import annotations

from pathlib import Path

from pipelines.executors import process


def end_commands(home: Path) -> int:
    """End what stages of this installation run on this machine; returns how many there were.

    The next workers find them lost: what may be repeated begins anew, what may not stops for a person."""
    return process.cut_off(home / "work")


def end_command_of(home: Path, key: str) -> int:
    """As `end_commands`, for one attempt."""
    return process.cut_off(home / "work" / key)
