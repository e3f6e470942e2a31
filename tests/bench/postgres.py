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


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of an empty database on a server that is gone afterwards. It keeps its data safe as any does."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        raise FileNotFoundError(INSTALL)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="burger-bench-pg-") as folder:
        who: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
            who |= {"user": "postgres", "group": "postgres", "extra_groups": ()}
        data = f"{folder}/data"
        made = [initdb, "-D", data, "-U", "burger", "-A", "trust", "-E", "UTF8", "--no-instructions"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, **who)
        options = ["-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", folder]
        log = Path(folder, "log").open("w")  # noqa: SIM115 closed with the server
        process = subprocess.Popen([postgres, *options], stdout=log, stderr=log, **who)
        try:
            _until_ready(port, process, Path(folder, "log"))
            yield f"postgres://burger@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(2)  # SIGINT: end the sessions, then stop
            process.wait(30)
            log.close()


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
