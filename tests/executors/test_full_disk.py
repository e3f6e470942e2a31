"""A disk that takes nothing while work is to be stopped: it is stopped once there is room, and not called an error."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors import process
from pipelines.executors.attempt import Attempt
from pipelines.executors.base import Log, Outcome, Unattended, Workplace
from pipelines.executors.process import Exit

from .conftest import MARK, marked
from .test_command import command, stage

__all__ = ["command", "stage"]


class Disk:
    """For this process, as one without room."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(self, yes: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if yes else self._before[0], self._before[1]))


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.full(False)


class Impatient:
    """Wants it stopped as soon as something was said; the disk has room again after a few looks."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.looks, self.begun = disk, 0, False

    def stopping(self) -> bool:
        self.looks += self.begun
        if self.begun:
            self.disk.full(self.looks < 4)
        return self.begun

    def commands(self) -> Sequence[str]:
        return ()


def test_a_running_command_is_stopped_once_there_is_room(
    command: Any, stage: Callable[..., Any], disk: Disk, mark: str, workplace: Workplace
) -> None:
    control = Impatient(disk)
    spec = stage("sh", "-c", "echo ready; sleep 60", env={MARK: mark})
    events = []
    for event in command.start(spec, "k-1", control):
        events.append(event)
        control.begun = True
    assert control.looks >= 4
    assert events == [Log("ready\n"), Outcome("canceled", "canceled", data={"exit_code": None})]
    assert marked(mark) == []
    left = {path.name for path in (workplace.folder("k-1") / "process").iterdir()}
    assert not [name for name in left if name.startswith("cancel.json.")]


def test_the_last_word_of_what_was_stopped_is_said_even_if_it_cannot_be_kept(
    workplace: Workplace, spec: Callable[..., Any], disk: Disk
) -> None:
    attempt = Attempt(workplace.folder("k-1"), Unattended(stop=lambda: True))

    def work(_: Attempt) -> Iterator[Outcome]:
        disk.full(True)
        yield Outcome("canceled", "canceled")

    events = list(attempt.carry_out(None, spec(), work))  # type: ignore[arg-type]
    disk.full(False)  # before pytest reports, which may be to a file
    assert events == [Outcome("canceled", "canceled")]
    assert attempt.probe(repeatable=True).state == "never_started"


def test_cancel_says_that_it_could_not(tmp_path: Path, disk: Disk, mark: str) -> None:
    """Whoever calls it can try again; nothing is left of the try."""
    folder = tmp_path / "process"
    events = process.run(
        folder, ["sh", "-c", "echo ready; sleep 60"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", MARK: mark},
        control=Unattended(),
    )  # fmt: skip
    assert next(events) == Log("ready\n")
    disk.full(True)
    with pytest.raises(OSError) as raised:  # noqa: PT011 the number is looked at
        process.cancel(folder)
    disk.full(False)
    assert raised.value.errno == errno.EFBIG
    assert not list(folder.glob("cancel.json*"))
    process.cancel(folder)
    assert list(events) == [Exit(None, "canceled", "canceled")]
