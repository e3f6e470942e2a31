"""django-q2's cluster, made to outlive the death of any of its processes.

As it comes, its queues guard their pipe with semaphores, which stay locked for ever when their holder is killed:
one idle worker shot dead stalls the whole cluster. Here the kernel holds the lock, and gives it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing
import multiprocessing.queues
import os
import signal
import tempfile
import threading
from types import TracebackType

from django_q import cluster


class FlockLock:
    """A lock among processes that the kernel releases when its holder dies. Not for use by several threads of one
    process at a time, which django-q2's queues never do."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="burger-queue-")  # noqa: SIM115 as long as the queue
        self._open: tuple[int, int] | None = None
        self._threads = threading.Lock()

    def _fd(self) -> int:
        # A lock belongs to the open file, which a fork shares: each process has to open its own.
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), os.open(f"/proc/self/fd/{self._file.fileno()}", os.O_RDWR | os.O_CLOEXEC))
            self._threads = threading.Lock()
        return self._open[1]

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        fd = self._fd()
        self._threads.acquire()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        except BlockingIOError:
            self._threads.release()
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._fd(), fcntl.LOCK_UN)
        self._threads.release()

    def __enter__(self) -> FlockLock:
        self.acquire()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.release()


class Queue(multiprocessing.queues.Queue):  # type: ignore[type-arg]
    """A queue among processes of which any may be killed at any moment. It is never full."""

    def __init__(self) -> None:
        super().__init__(ctx=multiprocessing.get_context())
        self._rlock = FlockLock()
        self._wlock = FlockLock()

    def qsize(self) -> int:
        with contextlib.suppress(OSError):  # closed: the cluster stops
            return 0 if self.empty() else 1
        return 0


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it dies, so that no orphan goes on working."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


def serve() -> None:
    """Run the cluster until SIGTERM. The main process drains it; every other one ends with its parent."""
    cluster.Queue = Queue
    os.register_at_fork(after_in_child=end_with_parent)
    running = cluster.Cluster()
    running.start()
    running.sentinel.join()
