"""A PostgreSQL server of a benchmark's own, from what is installed on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .place import free_port

INSTALL = "PostgreSQL is not installed: apt-get install postgresql"


def program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH, one folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


class Server:
    """A server with a folder of its own. It keeps its data safe as any does."""

    def __init__(self, folder: str) -> None:
        self._initdb, self._postgres = program("initdb"), program("postgres")
        if self._initdb is None or self._postgres is None:
            raise FileNotFoundError(INSTALL)
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgres://burger@127.0.0.1:{self._port}/postgres"
        self._who: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
            self._who |= {"user": "postgres", "group": "postgres", "extra_groups": ()}
        made = [self._initdb, "-D", f"{folder}/data", "-U", "burger", "-A", "trust", "-E", "UTF8", "--no-instructions"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, **self._who)

    def start(self) -> None:
        options = ["-D", f"{self._folder}/data", "-p", str(self._port)]
        options += ["-c", "listen_addresses=127.0.0.1", "-k", self._folder]
        log = Path(self._folder, "log")
        with log.open("a") as said:
            self._process = subprocess.Popen([str(self._postgres), *options], stdout=said, stderr=said, **self._who)
        _until_ready(self._port, self._process, log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: end the sessions, then stop
            self._process.wait(30)
            self._process = None


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server with an empty database, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="burger-bench-pg-") as folder:
        server = Server(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of an empty database on a server that is gone afterwards."""
    with running() as one:
        yield one.url


def _until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=burger dbname=postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-500:]}") from None
            time.sleep(0.05)
        else:
            return
