"""The bare git repositories that hold what was fetched so far, one for each address, under `HOME/mirrors`.

Git runs here with settings of our own only, and writes nothing but objects and refs into these folders.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipelines.executors.attempt import STANDARD_PATH, WorkFailedError
from pipelines.executors.base import Control
from pipelines.executors.store import StoreError, check_link

_PATIENCE = 300
_PASSED_ON = {"SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"}

# Everything that a repository or the machine could use to make git run or read something else.
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
    # Harmless traces of old tools, in the history of many good repositories.
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.badTimezone": "ignore",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "credential.helper": "",
}


def basic(token: str) -> str:
    return base64.b64encode(f"x-access-token:{token}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree: mode as git writes it ("100644", "100755", "120000", "160000"), object name,
    path."""

    mode: str
    name: str
    path: str


def last_words(stderr: bytes) -> str:
    """Why git failed, in a line: what it calls fatal, since advice for everybody may follow."""
    said = stderr.decode(errors="replace").strip().splitlines()
    return next((line for line in said if line.startswith("fatal: ")), said[-1] if said else "")


class Mirror:
    """The bare repository that holds what was fetched from one address so far."""

    def __init__(self, home: Path, address: str) -> None:
        self.address = address
        self.folder = home / "mirrors" / hashlib.sha256(address.encode()).hexdigest()

    def environment(self, *, token: str = "") -> dict[str, str]:
        """For git: nothing of the user's or the machine's configuration, and no question ever asked."""
        settings = dict(_SETTINGS)
        if self.address.startswith(("/", "file:")):
            settings["protocol.file.allow"] = "always"
        if token:
            settings[f"http.{self.address}.extraHeader"] = f"Authorization: Basic {basic(token)}"
        kept = {
            name: value for name, value in os.environ.items() if name in _PASSED_ON or name.lower().endswith("_proxy")
        }
        if certificates := os.environ.get("SSL_CERT_FILE"):
            kept["GIT_SSL_CAINFO"] = certificates
        return (
            kept
            | _as_variables(settings)
            | {
                "PATH": STANDARD_PATH,
                "HOME": "/nonexistent",
                "LC_ALL": "C.UTF-8",
                "GIT_DIR": str(self.folder),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ASKPASS": "/bin/false",
                "SSH_ASKPASS": "/bin/false",
                "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
                "GIT_PROTOCOL_FROM_USER": "0",
                "GIT_NO_REPLACE_OBJECTS": "1",
                "GIT_OPTIONAL_LOCKS": "0",
            }
        )

    @contextlib.contextmanager
    def locked(self, control: Control) -> Iterator[bool]:
        """Keep other fetches into this mirror out; gives False when told to stop while waiting."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as file:
            while not control.stopping():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.05)
                    continue
                yield True
                return
            yield False

    def prepare(self) -> None:
        """Make the repository if there is none, and take away what a killed git left. Only under the lock."""
        if not (self.folder / "HEAD").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700)
            self._git("init", "--quiet", "--bare", "--template=")
        for lock in (self.folder / "refs" / "burger").glob("*.lock"):
            lock.unlink(missing_ok=True)

    def has(self, commit: str) -> bool:
        """True when the commit was fetched completely: the ref is written last."""
        if not (self.folder / "refs" / "burger" / commit).exists():
            return False
        try:
            return self._git("cat-file", "-t", commit).strip() == b"commit"
        except WorkFailedError:
            return False

    def forget(self, commits: Iterable[str], branches: Iterable[str]) -> None:
        """Let go of commits and of where branches (by the names of their marks) once were, and of all that only they
        had. Only under the lock; what is needed again is fetched again."""
        names = [f"refs/burger/{commit}" for commit in commits] + [f"refs/burger-refs/{name}" for name in branches]
        self._git("update-ref", "--stdin", said="".join(f"delete {name}\n" for name in names))
        # The marks stay files of their own: by them it is known what was fetched completely.
        self._git("-c", "gc.packRefs=false", "gc", "--quiet", "--prune=1.hour.ago")

    def tree(self, commit: str) -> str:
        return self._git("rev-parse", "--verify", f"{commit}^{{tree}}").decode().strip()

    def entries(self, commit: str) -> list[Entry]:
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit)
        found = []
        for line in listing.split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, name = head.decode().split(" ")
            found.append(Entry(mode, name, os.fsdecode(path)))
        return found

    def submodules(self, commit: str) -> list[str]:
        return [entry.path for entry in self.entries(commit) if entry.mode == "160000"]

    def write_tree(self, commit: str, to: Path) -> None:
        """Write the commit's files into the new folder `to`, byte by byte as committed.

        Links come last, so that no file can be written through one. Raises WorkFailedError for a path or a
        link that leads out of the folder.
        """
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True, mode=0o700)
        entries = [entry for entry in self.entries(commit) if entry.mode != "160000"]
        links = []
        with self._reader() as read:
            for entry in entries:
                path = to / checked_path(entry.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                content = read(entry.name)
                if entry.mode == "120000":
                    links.append((path, os.fsdecode(content)))
                    continue
                with path.open("xb") as file:
                    file.write(content)
                path.chmod(0o755 if entry.mode == "100755" else 0o644)
        for path, target in links:
            path.symlink_to(target)
        for path, _ in links:
            try:
                check_link(to, path)
            except StoreError as error:
                raise WorkFailedError(str(error)) from error

    @contextlib.contextmanager
    def _reader(self) -> Iterator[_Read]:
        """A function from object name to content, over one long-lived git."""
        with subprocess.Popen(
            ["git", "cat-file", "--batch"],
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as git:
            try:
                yield _Read(git.stdin, git.stdout)  # type: ignore[arg-type]
            finally:
                git.kill()

    def _git(self, *arguments: str, said: str = "") -> bytes:
        try:
            done = subprocess.run(
                ["git", *arguments],
                env=self.environment(),
                input=said.encode(),
                capture_output=True,
                check=False,
                timeout=_PATIENCE,
            )
        except FileNotFoundError:
            raise WorkFailedError(f"There is no git on {STANDARD_PATH}. Install the package git.") from None
        except subprocess.TimeoutExpired:
            raise WorkFailedError(f"git {arguments[0]} took longer than {_PATIENCE} s; is the disk well?") from None
        if done.returncode:
            raise WorkFailedError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class _Read:
    stdin: BinaryIO
    stdout: BinaryIO

    def __call__(self, name: str) -> bytes:
        self.stdin.write(name.encode() + b"\n")
        self.stdin.flush()
        head = self.stdout.readline().split()
        if len(head) != 3:
            raise WorkFailedError(f"The mirror has no object {name}; remove it, and the next fetch makes it anew.")
        content = self.stdout.read(int(head[2]))
        self.stdout.read(1)
        return content


def checked_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or any(part == ".." or part.lower() == ".git" for part in parts):
        raise WorkFailedError(f"The commit holds the path {path!r}, which leads out of the workspace.")
    return path


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Git's settings as variables, so that none of them shows on a command line."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(sorted(settings.items())):
        variables[f"GIT_CONFIG_KEY_{number}"] = name
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
