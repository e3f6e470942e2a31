"""django-q2's cluster, made to outlive the death of any of its processes.

As it comes, its processes share semaphores, which stay locked for ever when their holder is killed, and a pipe, of
which a reader that is killed half way through a message leaves the other half to the next: one idle worker shot dead
stalls the whole cluster. Here nothing is shared that needs a lock: the kernel hands each message to one reader, whole.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import multiprocessing.queues
import os
import select
import signal
import socket
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from django_q import cluster

from pipelines import doorbell

LARGEST = 2**17  # bytes of a message; a wake-up has some hundred


class Packets(Connection):
    """One end of a socket that keeps messages apart."""

    def _send_bytes(self, buf: Any) -> None:
        os.write(self.fileno(), buf)

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO:
        message = os.read(self.fileno(), LARGEST)
        if not message:
            raise EOFError
        return io.BytesIO(message)


class NoLock:
    """Stands where a lock is expected and none is needed."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> NoLock:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Queue(multiprocessing.queues.Queue):  # type: ignore[type-arg]
    """A queue among processes of which any may be killed at any moment. It is never full."""

    def __init__(self) -> None:
        super().__init__(ctx=multiprocessing.get_context())
        self._reader.close()  # type: ignore[has-type]
        self._writer.close()  # type: ignore[has-type]
        reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._reader, self._writer = Packets(reader.detach()), Packets(writer.detach())
        self._rlock = self._wlock = NoLock()
        self._reset()  # type: ignore[attr-defined]

    def qsize(self) -> int:
        with suppress(OSError):  # closed: the cluster stops
            return 0 if self.empty() else 1
        return 0


class Flag:
    """An event among processes: once set, it stays so."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()

    def set(self) -> None:
        os.write(self._writable, b"!")
        doorbell.ring(doorbell.WORK)  # who waits for work looks at its flag only once it wakes up

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        return bool(select.select([self._readable], [], [], timeout)[0])


def _timer(kind: str, value: float) -> Any:
    """A worker's timer. It has two writers, but only for timeouts, which are a stage's own here."""
    return multiprocessing.Value(kind, value, lock=threading.RLock())  # type: ignore[call-overload]


_forking = 0


def _about_to_fork() -> None:
    global _forking
    _forking = os.getpid()


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it dies, so that no orphan goes on working."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != _forking:  # it died before the line above could take effect
        os._exit(1)


def serve() -> None:
    """Run the cluster until SIGTERM. The main process drains it; every other one ends with its parent."""
    cluster.Queue, cluster.Event, cluster.Value = Queue, Flag, _timer
    os.register_at_fork(before=_about_to_fork, after_in_child=end_with_parent)
    running = cluster.Cluster()
    running.start()
    running.sentinel.join()
