"""A Docker Engine of a test's own, to be killed: no network, no shared state, and a base image made of this machine's
own shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("sh", "sleep", "cat", "date", "ls", "head", "sha256sum", "dd", "echo", "cp")
BASE = "burger.test/base:1"


def rootfs(folder: Path) -> Path:
    """A root with a shell and a few programs, in a tar."""
    root, archive = folder / "root", folder / "base.tar"
    if not archive.exists():
        programs = [str(Path("/bin", program)) for program in PROGRAMS]
        subprocess.run(["sh", str(ROOT / "docker/closure.sh"), str(root), *programs], check=True, timeout=60)
        subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), "."], check=True, timeout=60)
        shutil.rmtree(root)
    return archive


class OwnEngine:
    """A dockerd below `folder`, which has to have a short name: a socket's path has at most 107 characters."""

    def __init__(self, folder: Path, docker: str, trust: str = "") -> None:
        """`docker` is a command line, `trust` a file with the authority of registries."""
        self.folder, self._docker, self._trust = folder, docker, trust
        self.host = f"unix://{folder}/docker.sock"
        self.bridge = f"be{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers, with the base image in it."""
        (self.folder / "empty.json").write_text("{}")
        for left in ("dockerd.pid", "exec/containerd/containerd.pid"):  # by one that was killed
            (self.folder / left).unlink(missing_ok=True)
        self._make_bridge()
        self._process = subprocess.Popen(
            [
                "dockerd", "--config-file", str(self.folder / "empty.json"), "--data-root", str(self.folder / "data"),
                "--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "dockerd.pid"),
                "--host", self.host, "--bridge", self.bridge, "--iptables=false", "--ip6tables=false",
            ],
            env={**os.environ, **({"SSL_CERT_FILE": self._trust} if self._trust else {})},
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 40
        while self.command("version", check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        if self.command("image", "inspect", BASE, check=False).returncode:
            self.command("import", str(rootfs(self.folder)), BASE)

    def _make_bridge(self) -> None:
        """Steps get an interface of it; no rule lets them out, so they reach nothing."""
        if Path("/sys/class/net", self.bridge).exists():
            return
        address = f"198.51.100.{os.getpid() % 32 * 8 + 1}/29"
        for words in (("link", "add", self.bridge, "type", "bridge"), ("addr", "add", address, "dev", self.bridge)):
            subprocess.run(["ip", *words], check=True, timeout=10)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.host, "HOME": str(self.folder)}
        return subprocess.run([self._docker, *arguments], env=env, check=check, capture_output=True, timeout=60)

    def kill(self) -> None:
        """As a machine that fails would: it and its containerd, with no word to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            mounted = line.split()[1]
            if mounted.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # Its children, containerd and what builds run, carry the path of its folder.
        self._process.send_signal(number)
        self._process.wait(30)
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and self._is_ours(path):
                try:
                    os.kill(int(path.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self._process = None

    def _is_ours(self, path: Path) -> bool:
        try:
            return str(self.folder).encode() in (path / "cmdline").read_bytes() and int(path.name) != os.getpid()
        except OSError:
            return False
