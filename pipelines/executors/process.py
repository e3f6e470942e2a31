"""Run a command so that it belongs to its attempt and not to the worker that happened to start it.

A small keeper process (`shim.py`) starts the command, holds its limits and writes down how it ended. A
worker that is killed takes nothing with it: the next one calls `run` with the same folder and follows the
same command. The state of a command is read from its folder alone, whose file system may be shared with other
machines: of a keeper on another one, only its lock says whether it lives, and it reads by itself that it shall end.

    exit.json there                     ended, and every descendant is gone
    pid.json, keeper alive              running
    pid.json, keeper dead               lost: the keeper itself was killed, or the machine went down
    no pid.json, `lock` held            starting
    no pid.json, `lock` free            never started
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets as random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from pipelines.executors.base import Control, Log, Probe
from pipelines.executors.masks import Masker
from pipelines.executors.output import Output

SHIM = Path(__file__).with_name("shim.py")
TOKEN = "BURGER_PROCESS"  # noqa: S105 - the variable that marks every process of one command
PAUSE = 0.05
LOST = "the process that kept this command was killed before the command ended"

How = Literal["exited", "timeout", "output_limit", "canceled", "lost"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended. `code` is its exit code, or minus the signal's number, where `how` is "exited";
    a program that could not be started at all has 126 or 127. `reason` says it in words."""

    code: int | None
    reason: str
    how: How


def run(
    folder: Path,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    control: Control,
    timeout: float | None = None,
    output_limit: int = 10 * 2**20,
    masker: Masker | None = None,
    stdin: bytes = b"",
) -> Iterator[Log | Exit]:
    """Start the command of `folder`, or join it, and yield its output and, last, its Exit.

    The command runs at most once for a folder, whoever calls and however often; a later call yields what the
    earlier ones had not handed over yet. `env` is the whole environment. `timeout` is in seconds,
    `output_limit` in bytes for stdout and stderr together; the keeper holds both, even with no caller left.
    When `control` says to stop, the command is ended with everything that it started. With `masker`, the
    unmasked output is erased from the disk before the Exit is yielded, or, where somebody keeps receipts, once they
    have stored all of it.
    """
    _check(argv, env)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    order = {
        "argv": list(argv),
        "cwd": str(cwd),
        "env": dict(env),
        "timeout": timeout,
        "output_limit": output_limit,
        "stdin": base64.b64encode(stdin).decode(),
    }
    keeper = _start(folder, order)
    output = Output(folder, masker)
    try:
        yield from _follow(folder, output, control)
        if masker is not None:
            output.erase()
        yield _exit(folder)
    finally:
        if keeper is not None and not _going_on(folder):
            keeper.wait()


def probe(folder: Path) -> Probe:
    """What became of the command of `folder`. Reads only."""
    # Twice: the keeper may write its last file and end between the look for that file and the look for it.
    for _ in range(2):
        if (folder / "exit.json").exists():
            return Probe("done")
        pid = _read(folder / "pid.json")
        if pid is not None and _alive(folder, pid):
            return Probe("running")
        if pid is None and _locked(folder):
            return Probe("running", "it is being started")
    if pid is None:
        return Probe("never_started")
    return Probe("unknown", f"{LOST}; look at what it had done by then")


def cancel(folder: Path, grace: float = 5.0) -> None:
    """End the command: SIGTERM to its group, SIGKILL to all that is left after `grace` seconds.

    Returns once nothing of it runs. A command that has not started yet never will.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if probe(folder).state == "done":
        return
    # Before the signal: a keeper that is just starting looks for this file, and begins nothing.
    if not (folder / "cancel.json").exists():
        _write(folder / "cancel.json", json.dumps({"grace": grace}))
    while _going_on(folder):
        with _Handle(folder) as keeper:
            keeper.terminate()
            keeper.wait(grace + 1.0)
    _end_orphans(folder)


def cut_off(root: Path) -> int:
    """End every command of this machine whose folder lies below `root`, as a power cut would; returns how many.

    None of them reports an end: the next look at its folder finds it lost."""
    number = 0
    for pid, folder in _keepers(root.resolve()):
        with suppress(ProcessLookupError, psutil.Error):
            # Stopped, it writes down no end. All that the command left behind is its child: it is their subreaper.
            os.kill(pid, signal.SIGSTOP)
            number += 1
            while found := [each for each in psutil.Process(pid).children(recursive=True) if _lives(each)]:
                for each in found:
                    with suppress(psutil.Error):
                        each.kill()
                time.sleep(0.002)
            os.kill(pid, signal.SIGKILL)
        while _locked(folder):
            time.sleep(0.005)
        _end_orphans(folder)
    return number


def _lives(each: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(each.status() != psutil.STATUS_ZOMBIE)
    return False


def _keepers(root: Path) -> Iterator[tuple[int, Path]]:
    for path in Path("/proc").iterdir():
        words: list[bytes] = []
        if path.name.isdigit():
            with suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
        if os.fsencode(SHIM) in words:
            folder = Path(os.fsdecode(words[words.index(os.fsencode(SHIM)) + 1]))
            if folder.is_relative_to(root):
                yield int(path.name), folder


def discard(folder: Path) -> None:
    """End the command and forget that it ever ran; `run` with this folder starts anew."""
    cancel(folder, grace=0.0)
    shutil.rmtree(folder, ignore_errors=True)


def _going_on(folder: Path) -> bool:
    return probe(folder).state == "running"


# --- starting ---------------------------------------------------------------------------------------------


def _check(argv: Sequence[str], env: Mapping[str, str]) -> None:
    if isinstance(argv, str) or not argv or not all(isinstance(word, str) for word in argv) or not argv[0]:
        raise ValueError(f"A command is a list of texts that begins with a program, found {argv!r}.")
    if any("\0" in text for text in (*argv, *env, *env.values())):
        raise ValueError(f"The command {argv[0]!r} or its environment holds a NUL character; remove it.")


def _start(folder: Path, order: dict[str, Any]) -> subprocess.Popen[bytes] | None:
    """Start the keeper, unless there is or was one, or the command was canceled before it could begin."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not ((folder / "pid.json").exists() or (folder / "cancel.json").exists()):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)  # another caller is starting it; should that fail, we try
                continue
            # Asked again, now that nobody else can be starting: a keeper may have come and gone meanwhile.
            if not (folder / "pid.json").exists():
                return _spawn(folder, order, lock)
    finally:
        os.close(lock)
    return None


def _spawn(folder: Path, order: dict[str, Any], lock: int) -> subprocess.Popen[bytes]:
    """The keeper inherits the lock's open file: the lock is held from here to its end without a gap."""
    token = random.token_hex(16)
    order = {**order, "token": token, "env": {**order["env"], TOKEN: token}}
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SHIM), str(folder.absolute()), str(lock)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={},
            cwd="/",
            start_new_session=True,
            pass_fds=(lock,),
        )
    # A keeper that died at once is found out by its files, like one that dies later.
    with suppress(BrokenPipeError), keeper.stdin as pipe:  # type: ignore[union-attr]
        pipe.write(json.dumps(order).encode())
    return keeper


# --- following --------------------------------------------------------------------------------------------


def _follow(folder: Path, output: Output, control: Control) -> Iterator[Log]:
    """Yield the output until the command has ended."""
    with _Handle(folder) as keeper:
        while _going_on(folder):
            yield from output.read()
            if control.stopping():
                # A full disk may not take the word that says so. It runs on until that is written.
                with suppress(OSError):
                    cancel(folder)
            keeper.wait(PAUSE)
    yield from output.read(final=True)


def _exit(folder: Path) -> Exit:
    if (verdict := _read(folder / "exit.json")) is not None:
        return Exit(verdict["code"], verdict["reason"], verdict["how"])
    if (folder / "pid.json").exists():
        _end_orphans(folder)
        return Exit(None, LOST, "lost")
    if (folder / "cancel.json").exists():
        return Exit(None, "canceled before it started", "canceled")
    problem = ""
    with suppress(OSError):
        problem = (folder / "keeper.log").read_text(errors="replace").strip().rpartition("\n")[2]
    return Exit(None, f"the process that keeps commands could not start: {problem or 'it left no message'}", "lost")


# --- who is it --------------------------------------------------------------------------------------------


class _Handle:
    """The keeper as a pidfd, which never means another process with the same number. One on another machine has none:
    it looks for `cancel.json` by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.descriptor: int | None = None

    def __enter__(self) -> _Handle:
        while _going_on(self.folder):
            if (pid := _read(self.folder / "pid.json")) is None:
                time.sleep(0.002)
                continue
            if pid["machine"] != _machine():
                break
            with suppress(ProcessLookupError):
                self.descriptor = os.pidfd_open(pid["pid"])
            # Opened first and compared then: the number could have changed hands before, not after.
            if self.descriptor is None or _alive(self.folder, pid):
                break
            os.close(self.descriptor)
            self.descriptor = None
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    def terminate(self) -> None:
        if self.descriptor is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Return when the keeper has ended, or after `seconds`; sooner where that cannot be seen from here."""
        if self.descriptor is None:
            time.sleep(min(seconds, PAUSE))
        else:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLIN)
            poll.poll(seconds * 1000)


def _alive(folder: Path, pid: Mapping[str, Any]) -> bool:
    if pid["machine"] != _machine():
        return _locked(folder)
    try:
        fields = Path(f"/proc/{pid['pid']}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in (b"Z", b"X") and int(fields[19]) == pid["started"]


@cache
def _machine() -> str:
    """Where a process id means something: since this boot, and in this container."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"


def _locked(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _end_orphans(folder: Path) -> None:
    """Kill what a dead keeper left behind; every process of its command carries the keeper's token."""
    pid = _read(folder / "pid.json")
    if pid is None or (folder / "exit.json").exists():
        return
    mark = f"{TOKEN}={pid['token']}".encode()
    while found := [process for process in _processes() if mark in process[1].split(b"\0")]:
        for number, _ in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)


def _processes() -> Iterator[tuple[int, bytes]]:
    """The pid and the environment of every living process that this user may look at."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                yield int(path.name), (path / "environ").read_bytes()


# --- files ------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any] | None:
    text = _text(path)
    return json.loads(text) if text else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{random.token_hex(4)}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
