"""Where the local target keeps things, and how it writes them: whole or not at all.

HOME/run/keeper.*               the keeper: lock, pid, settings, log, and the doorbell that wakes it
HOME/router/                    Traefik's configuration, `dynamic/NAME.yml` for each environment
HOME/environments/NAME/
    desired.json                what shall run; written by rollouts, under `lock`
    observed.json               what runs; written by the keeper
    replicas.json               the keeper's own memory of processes
    config/*.env, access.json   written by configuration management
    releases/, logs/, data/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets as random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_name(name: str, what: str) -> str:
    """Names become parts of paths, router rules and cookies. Raises ValueError for one that must not."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of {what}: use lower-case letters, digits and - between.")
    return name


@dataclass(frozen=True, slots=True)
class Place:
    """One environment's files."""

    home: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.home / "environments" / check_name(self.name, "an environment")

    @property
    def desired(self) -> Path:
        return self.folder / "desired.json"

    @property
    def observed(self) -> Path:
        return self.folder / "observed.json"

    @property
    def memory(self) -> Path:
        return self.folder / "replicas.json"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def access(self) -> Path:
        return self.folder / "access.json"

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in changing desired.json; the kernel ends the lock of who dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_json(path: Path, value: Any, *, durable: bool = False, mode: int = 0o600) -> None:
    """Replace a file in one step. `durable` waits for the disk: for what cannot be found out again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent / f".{path.name}.{random.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The value, or None where there is no file. Raises ValueError that names the file when it is no JSON."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}). Restore it, or remove it to begin anew.") from None


def doorbell(home: Path) -> Path:
    return home / "run" / "keeper.bell"


def ring(home: Path) -> None:
    """Wake the keeper, if there is one; it would look by itself a second later."""
    with contextlib.suppress(OSError):
        descriptor = os.open(doorbell(home), os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)
