"""The keeper of one command: starts it, outlives whoever asked for it, and writes down how it ended.

Started by `process.run` as `python -I -S shim.py FOLDER LOCK`, where LOCK is the descriptor of an open,
locked file, and the order comes as JSON on standard input: argv, cwd, env, stdin (base64), timeout,
output_limit, token. The environment comes through that pipe because it may hold secrets: it is never in a
file nor on a command line.

In FOLDER it writes `pid.json` before the command starts, `output` while it runs, and `exit.json` once the
command and every process that descends from it are gone. It uses the standard library only, and little of
it, because each import delays the start of each stage.
"""

# pathlib would cost more than the rest of the start together.
# ruff: noqa: PTH104, PTH112, PTH118, PTH123, PTH208, S606

import base64
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
READ_SIZE = 65536
LOOK = 500  # milliseconds
# Ignored by Python, by this keeper, or by whoever started it; the command gets them as they were meant.
CHANGED_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
)
DEFAULT_GRACE = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


class Folder:
    """The files of one command. All of them are private to the user, because the output may show secrets."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Room for the last word is taken now, so that a disk that fills up meanwhile cannot keep it from us.
        self._reserved = self.open("exit.json.tmp")
        os.posix_fallocate(self._reserved, 0, 4096)

    def open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return os.open(os.path.join(self.path, name), flags, 0o600)

    def publish(self, name: str, data: dict, descriptor: int | None = None) -> None:
        """Write `data` so that a reader sees all of it or nothing, even after the power failed."""
        temporary = os.path.join(self.path, name + ".tmp")
        target = self.open(name + ".tmp") if descriptor is None else descriptor
        content = json.dumps(data).encode()
        os.pwrite(target, content, 0)
        os.ftruncate(target, len(content))
        os.fsync(target)
        os.close(target)
        os.rename(temporary, os.path.join(self.path, name))
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(directory)
        os.close(directory)

    def finish(self, data: dict) -> None:
        """Write the last word, however long the disk refuses to take it."""
        descriptor: int | None = self._reserved
        while True:
            try:
                return self.publish("exit.json", data, descriptor)
            except OSError:
                descriptor = None
                time.sleep(0.5)

    def canceled(self) -> float | None:
        """The grace in seconds that `process.cancel` asked for, None when nobody canceled."""
        try:
            with open(os.path.join(self.path, "cancel.json"), encoding="utf-8") as file:
                return float(json.load(file)["grace"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, OSError):
            return DEFAULT_GRACE


def started_at(pid: int) -> int:
    """The start time of a process in clock ticks after boot: with the pid, it names a process for good."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def identity() -> dict:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 pathlib takes its time to import
    return {"pid": os.getpid(), "started": started_at(os.getpid()), "machine": machine}


def children() -> list[int]:
    """Living children of this process, its adopted descendants included."""
    own, found = os.getpid(), []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == own:
            found.append(int(name))
    return found


def become_command(order: dict, keeper: int, stdin: int, output: int) -> None:
    """In the forked child: turn into the command. Raises OSError when that is impossible."""
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:  # it died before the line above could take effect
        os._exit(127)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the secrets
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(order["cwd"])
    os.dup2(stdin, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execvpe(order["argv"][0], order["argv"], order["env"])


def start_command(order: dict) -> tuple[int, int]:
    """Fork and execute; returns the pid and the readable end of its output. Raises OSError when it cannot
    start."""
    stdin = os.memfd_create("stdin")
    with open(stdin, "wb", closefd=False) as file:
        file.write(base64.b64decode(order["stdin"]))
    os.lseek(stdin, 0, os.SEEK_SET)
    readable, writable = os.pipe()
    failure_in, failure_out = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            become_command(order, keeper, stdin, writable)
        except OSError as error:
            os.write(failure_out, str(error.errno).encode())
        finally:
            os._exit(127)
    for descriptor in (stdin, writable, failure_out):
        os.close(descriptor)
    failure = os.read(failure_in, 16)  # empty once the exec has closed the other end
    os.close(failure_in)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)))
    os.set_blocking(readable, False)
    return pid, readable


class Keeper:
    """Watches one running command until it and everything that it started is gone."""

    def __init__(self, folder: Folder, order: dict, pid: int, readable: int) -> None:
        self.folder, self.pid, self.readable = folder, pid, readable
        self.output = folder.open("output")
        self.room = order["output_limit"]
        self.limit = order["output_limit"]
        self.timeout = order["timeout"]
        self.deadline = None if self.timeout is None else time.monotonic() + self.timeout
        self.kill_at: float | None = None
        self.status: int | None = None
        self.how = "exited"
        self.reason = ""
        self.wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)

    def watch(self) -> dict:
        """Returns what belongs into `exit.json`."""
        poll = select.poll()
        poll.register(self.readable, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        self.check_cancel()
        while self.reap():
            for descriptor, _ in poll.poll(self.patience()):
                if descriptor == self.wake:
                    os.read(self.wake, 512)
                elif not self.copy():
                    poll.unregister(self.readable)
            self.check_cancel()
            self.check_time()
        self.end_descendants()
        while self.copy():
            pass
        return self.verdict()

    def reap(self) -> bool:
        """Collect ended children; False once the command itself is among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self.status is None
            if pid == 0:
                return self.status is None
            if pid == self.pid:
                self.status = status

    def patience(self) -> int:
        """Milliseconds until the next deadline, or the next look whether another machine canceled it."""
        moments = [moment for moment in (self.deadline, self.kill_at) if moment is not None]
        return min(LOOK, max(0, int((min(moments) - time.monotonic()) * 1000) + 1)) if moments else LOOK

    def copy(self) -> bool:
        """Move what the command wrote into the file; False when there is nothing more for now."""
        try:
            chunk = os.read(self.readable, READ_SIZE)
        except BlockingIOError:
            return False
        if not chunk:
            return False
        kept = chunk[: self.room]
        try:
            view = memoryview(kept)
            while view:
                view = view[os.write(self.output, view) :]
        except OSError as error:
            self.room = 0
            self.stop("lost", f"its output could not be stored: {error.strerror}", 0.0)
            return True
        self.room -= len(kept)
        if len(kept) < len(chunk):
            self.stop("output_limit", f"wrote more than {self.limit} bytes of output", 0.0)
        return True

    def check_cancel(self) -> None:
        grace = self.folder.canceled()
        if grace is not None:
            self.stop("canceled", "canceled", grace)

    def check_time(self) -> None:
        now = time.monotonic()
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = None
            self.send(signal.SIGKILL)
        elif self.deadline is not None and now >= self.deadline:
            self.stop("timeout", f"took longer than {self.timeout:g} s", DEFAULT_GRACE)

    def stop(self, how: str, reason: str, grace: float) -> None:
        """End the command for the first reason that comes; SIGKILL follows after `grace` seconds."""
        if self.how != "exited":
            return
        self.how, self.reason, self.deadline = how, reason, None
        self.kill_at = time.monotonic() + grace
        self.send(signal.SIGTERM if grace else signal.SIGKILL)

    def send(self, number: int) -> None:
        # Until it is reaped, neither the command's pid nor its group can mean anybody else.
        if self.status is None:
            with contextlib.suppress(OSError):  # a group that became another user's
                os.killpg(self.pid, number)

    def end_descendants(self) -> None:
        """Kill what the command left behind, daemons too: all orphans below a subreaper become its children.

        Each round kills one layer. A child that nobody has reaped yet cannot be mistaken for another process.
        """
        pause = 0.001
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                return
            for pid in children():
                with contextlib.suppress(OSError):  # another user's: it has to end by itself
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def verdict(self) -> dict:
        code = os.waitstatus_to_exitcode(self.status or 0)
        if self.how != "exited":
            return {"code": None, "how": self.how, "reason": self.reason}
        if code >= 0:
            return {"code": code, "how": "exited", "reason": f"exit code {code}"}
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (often the machine was out of memory)" if name == "SIGKILL" else ""
        return {"code": code, "how": "exited", "reason": f"ended by {name}{hint}"}


def not_started(order: dict, error: OSError) -> dict:
    """What to say of a command that could not start; 126 and 127 are the shell's codes for it."""
    program, cwd = order["argv"][0], order["cwd"]
    if not os.path.isdir(cwd):
        reason = f"could not start: its folder {cwd} does not exist"
    elif error.errno == errno.ENOENT:
        reason = f"could not start: no program {program!r} in {cwd} or on PATH={order['env'].get('PATH', '')}"
    else:
        reason = f"could not start {program!r}: {error.strerror}"
    return {"code": 127 if error.errno == errno.ENOENT else 126, "how": "exited", "reason": reason}


def keep(folder: Folder, order: dict) -> dict:
    if folder.canceled() is not None:
        return {"code": None, "how": "canceled", "reason": "canceled before it started"}
    try:
        pid, readable = start_command(order)
    except OSError as error:
        return not_started(order, error)
    order.pop("env")
    return Keeper(folder, order, pid, readable).watch()


def main() -> None:
    # The lock says that somebody is at work here; the command must not inherit it, or it would outlast the
    # work.
    fcntl.fcntl(int(sys.argv[2]), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    order = json.loads(sys.stdin.buffer.read())
    os.umask(0o077)
    # Before anybody can learn the pid: from now on a signal must wake the loop, not kill the keeper.
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    folder = Folder(sys.argv[1])
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder.publish("pid.json", {**identity(), "token": order["token"]})
    folder.finish(keep(folder, order))
    os._exit(0)  # nothing is left to clean up, and somebody waits for this process to be gone


if __name__ == "__main__":
    main()
