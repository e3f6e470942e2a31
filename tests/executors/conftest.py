"""A workplace, a small real repository, and workers that can be killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Artifact, Outcome, Produced, StageSpec, Unattended, Workplace, Yielded

ROOT = Path(__file__).parents[2]
MARK = "BURGER_TEST"

# What a worker is to an executor: a process that may vanish between two events.
WORKER = """
import pickle, sys
from pathlib import Path
from pipelines.executors.base import Unattended
from pipelines.executors import mirror
executor, spec, key, names = pickle.loads(Path(sys.argv[1]).read_bytes())
for name, value in names.items():
    setattr(mirror, name, value)
for event in executor.start(spec, key, Unattended()):
    print(event, flush=True)
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "var")


@pytest.fixture
def spec() -> Callable[..., StageSpec]:
    """A stage of team `dev`; name what matters to the test."""
    stage = StageSpec(run=7, pipeline="shop", stage="stage", kind="command", owner="dev", commit="c" * 40)
    return lambda **changes: replace(stage, **changes)


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def carry_out() -> Callable[..., tuple[Outcome, list[Artifact], str]]:
    """Run an executor to its end: its outcome, what it produced, and all that it said."""

    def run(executor: Any, spec: StageSpec, key: str = "k-1", control: Any = None) -> Any:
        events: list[Yielded] = list(executor.start(spec, key, control or Unattended()))
        outcomes = [event for event in events if isinstance(event, Outcome)]
        assert outcomes == events[-1:], f"exactly one Outcome, and last: {events}"
        made = [event.artifact for event in events if isinstance(event, Produced)]
        return outcomes[0], made, "".join(getattr(event, "text", "") for event in events)

    return run


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts an executor in a process of its own, its events lines on stdout. `names` go into `mirror`."""
    started: list[subprocess.Popen[str]] = []

    def start(executor: Any, spec: StageSpec, key: str, **names: str) -> subprocess.Popen[str]:
        order = tmp_path / f"order-{len(started)}"
        order.write_bytes(pickle.dumps((executor, spec, key, names)))
        started.append(
            subprocess.Popen([sys.executable, "-c", WORKER, str(order)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A value for the variable BURGER_TEST; every process that still has it after the test is killed."""
    value = str(tmp_path)
    yield value
    for pid in marked(value):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def marked(value: str) -> list[int]:
    """The pids of living processes that carry the mark."""
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            alive = path.name.isdigit() and b") Z" not in (path / "stat").read_bytes()
            if alive and f"{MARK}={value}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


def eventually(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first truthy answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return answer


def python(*lines: str) -> Sequence[str]:
    return [sys.executable, "-S", "-c", "\n".join(lines)]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
