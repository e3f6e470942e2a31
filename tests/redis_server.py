"""A Redis (or Valkey) server of a test's own, from what is installed on this machine, on a socket in a folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis

INSTALL = "Neither Redis nor Valkey is installed: apt-get install redis-server"


def program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """`start` and `kill` as often as a test likes; `url` stays the same."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        found = program()
        assert found, INSTALL
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([found, *options], cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.url) as client:
                if client.ping():
                    return
            assert self._process.poll() is None, "Redis ended"
            assert time.monotonic() < deadline, "Redis does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    one = Server(folder)
    one.start()
    try:
        yield one
    finally:
        one.kill()
