"""What replicas print: through a pipe and a process that masks it, into a file of each replica.

The process outlives the keeper, and ends with the replica. A replica has both ends of its pipe, so that one whose
masking process was killed is not killed by its own next line: what it prints waits in the pipe for the next process.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.executors.rollout.local import masking, processes
from pipelines.executors.rollout.local.replica import Replica

ROOT = Path(__file__).resolve().parents[4]
PIPE_SIZE = 2**20
# What a dead replica had printed is in its file after this many seconds, or something else still holds its pipe.
PATIENCE = 1.0
FILES_KEPT = 30
TIDY_EVERY = 30.0


@dataclass(slots=True)
class Outputs:
    """The masking processes of one environment's replicas. `watch` is told of each process."""

    watch: Callable[[int], None]
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    tidied: float = 0.0

    def begin(self, replica: Replica, file: Path, values: Sequence[str]) -> int:
        """A new pipe for a replica; returns the descriptor to start it with, for the caller to close."""
        source, write = os.pipe()
        try:
            with suppress(OSError):
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            self._mask(replica, source, file, values)
            return os.open(f"/proc/self/fd/{write}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(source)
            os.close(write)

    def keep(self, replica: Replica, file: Path, values: Callable[[Mapping[str, str]], Sequence[str]]) -> None:
        """See that somebody reads what a living replica prints. `values` makes of its variables what is hidden."""
        if not replica.output_pid or processes.alive(replica.output_pid, replica.output_started):
            return
        self._reap(replica.output_pid)
        with suppress(OSError):
            source = os.open(f"/proc/{replica.pid}/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISFIFO(os.fstat(source).st_mode):
                    os.set_blocking(source, True)
                    self._mask(replica, source, file, values(variables(replica.pid)))
            finally:
                os.close(source)

    def finish(self, replica: Replica) -> None:
        """Wait until all that a dead replica had printed is in its file."""
        deadline = time.monotonic() + PATIENCE
        while processes.alive(replica.output_pid, replica.output_started):
            if time.monotonic() > deadline:
                processes.send(replica.output_pid, replica.output_started, signal.SIGKILL)
            time.sleep(0.005)
        self._reap(replica.output_pid)
        replica.output_pid = replica.output_started = 0

    def tidy(self, folder: Path, own: Collection[Path], now: float) -> None:
        """Remove the oldest files of `folder` that belong to no replica any more, now and then."""
        if now - self.tidied < TIDY_EVERY:
            return
        self.tidied = now
        others = [path for path in folder.glob("*.log*") if path not in own]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[FILES_KEPT:]:
            path.unlink(missing_ok=True)

    def _mask(self, replica: Replica, source: int, file: Path, values: Sequence[str]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.memfd_create("hidden"), "r+b") as hidden:
            hidden.write(json.dumps(list(values)).encode())
            hidden.flush()
            hidden.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-P", "-S", masking.__file__, str(file), str(hidden.fileno())],
                cwd="/",
                env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=source,
                stdout=subprocess.DEVNULL,
                pass_fds=(hidden.fileno(),),
                start_new_session=True,
            )
        self.children[child.pid] = child
        replica.output_pid, replica.output_started = child.pid, processes.started(child.pid)
        self.watch(child.pid)

    def _reap(self, pid: int) -> None:
        child = self.children.pop(pid, None)
        if child:
            child.wait()


def variables(pid: int) -> dict[str, str]:
    """The environment that a process was started with. Raises OSError."""
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape")
    return dict(one.partition("=")[::2] for one in text.split("\0") if "=" in one)
