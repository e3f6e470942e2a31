"""Which process is this really: a pid together with the time at which the kernel started it.

Start times are the kernel's own ticks since boot, so that a changed clock makes nobody a stranger.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MARK = "BURGER_KEPT"


def started(pid: int) -> int:
    """Ticks since boot at which the process began; 0 when there is none, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in parentheses may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, since: int) -> bool:
    return pid > 0 and since > 0 and started(pid) == since


def send(pid: int, since: int, number: signal.Signals, *, group: bool = False) -> None:
    """Signal exactly this process, or the group that it leads; nobody, if it is gone."""
    if not alive(pid, since):
        return
    with suppress(ProcessLookupError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def spawn(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: int, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start in a session of its own. What it prints goes to the descriptor `output`, which is closed here; it has the
    descriptors `keep` under the same numbers. Raises OSError when it cannot be started."""
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
        )
    finally:
        os.close(output)


def appending(log: Path) -> int:
    """A descriptor that appends to `log`, a file that only its owner may read. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def marked(mark: str) -> Iterator[tuple[int, int, str, bool]]:
    """(pid, started, identity, leads its session) of each process that carries MARK=`mark`:IDENTITY."""
    wanted = f"{MARK}={mark}:".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            leads = os.getsid(pid) == pid
        except OSError:
            continue
        found = next((v for v in variables if v.startswith(wanted)), None)
        since = started(pid)
        if found and since:
            yield pid, since, found[len(wanted) :].decode(), leads


def end_remains(mark: str, identity: str) -> None:
    """Kill what a dead process with this mark has left behind."""
    for pid, since, found, _ in marked(mark):
        if found == identity:
            send(pid, since, signal.SIGKILL)


def tail(log: Path, lines: int = 5, limit: int = 4096) -> str:
    """The last lines of a log, at most `limit` bytes of them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line for line in text.splitlines()[-lines:])


def limit_log(log: Path, largest: int) -> None:
    """Keep a log that is written to by others below about `largest` bytes, the older half in LOG.1.

    Writers append, so they go on at the new end; what they write while this copies may be lost.
    """
    try:
        if log.stat().st_size <= largest:
            return
        with log.open("rb+") as file:
            log.with_name(log.name + ".1").write_bytes(file.read())
            file.truncate(0)
    except OSError:
        return
