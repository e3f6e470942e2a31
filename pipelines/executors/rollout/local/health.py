"""Health checks over HTTP, in a few threads, so that a replica that hangs holds up nobody else."""

from __future__ import annotations

import http.client
import os
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

TIMEOUT = 2.0
THREADS = 4


@dataclass(frozen=True, slots=True)
class Result:
    """`problem` is "" for a healthy answer. `pid` tells which life of the replica was asked."""

    replica: str
    pid: int
    problem: str


class Checker:
    """`check` returns at once; the result is in `results()` after a byte has come over `wake`."""

    def __init__(self) -> None:
        self.wake, self._ring = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._ring, False)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="health")
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._asked: set[str] = set()

    def check(self, replica: str, pid: int, port: int, path: str) -> None:
        """Ask, unless the last question is not answered yet."""
        if replica not in self._asked:
            self._asked.add(replica)
            self._pool.submit(self._ask, replica, pid, port, path)

    def results(self) -> list[Result]:
        found = []
        while not self._results.empty():
            found.append(self._results.get())
            self._asked.discard(found[-1].replica)
        return found

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, replica: str, pid: int, port: int, path: str) -> None:
        self._results.put(Result(replica, pid, ask(port, path)))
        os.write(self._ring, b"!")


def ask(port: int, path: str, timeout: float = TIMEOUT) -> str:
    """ "" when the replica answers with a status below 400, else what it does instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        status = connection.getresponse().status
    except TimeoutError:
        return f"no answer to {path} within {timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer to {path}: {error}"
    else:
        return "" if status < 400 else f"{path} answers {status}"
    finally:
        connection.close()
