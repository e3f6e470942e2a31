"""Who builds: BuildKit through a command line that offers it, found by trying, else the SDK's classic builder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pipelines.executors.attempt import STANDARD_PATH
from pipelines.executors.connections import Docker

PATIENCE = 20.0  # seconds for a command line to say what it can do

PLUGIN_ROOTS = ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")

Kind = Literal["buildx", "buildkit", "classic"]


@dataclass(frozen=True, slots=True)
class Builder:
    """`cli` is the command line, "" for the SDK. `tried` says why each other one that was looked at cannot do it."""

    kind: Kind
    cli: str = ""
    tried: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        if self.kind == "classic":
            return "the SDK's classic builder"
        return f"BuildKit ({self.cli} {'buildx build' if self.kind == 'buildx' else 'with DOCKER_BUILDKIT=1'})"

    @property
    def buildkit(self) -> bool:
        return self.kind != "classic"


def find(docker: Docker) -> Builder:
    """The first command line that offers BuildKit: the one of connections.yaml, else any `docker` of the PATH."""
    tried: list[str] = []
    for cli in _candidates(docker.cli):
        try:
            kind = _offers(cli, Path(cli).stat().st_mtime_ns, _plugins())
        except OSError as error:
            kind = f"cannot be started: {error.strerror}"
        if kind in ("buildx", "buildkit"):
            return Builder("buildx" if kind == "buildx" else "buildkit", cli, tuple(tried))
        tried.append(f"{cli} {kind}")
    return Builder("classic", "", tuple(tried) or ("there is no docker on the PATH",))


def variables(docker: Docker, own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """How a command line reaches the engine, whatever its HOME is."""
    passed = {
        name: own[name] for name in ("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION") if name in own
    }
    if host := docker.host or own.get("DOCKER_HOST", ""):
        passed["DOCKER_HOST"] = host
    state = own.get("BUILDX_CONFIG") or str(Path(own.get("HOME", "/")) / ".docker" / "buildx")
    return passed | {"DOCKER_BUILDKIT": "1", "BUILDX_CONFIG": state, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def write_config(home: Path, auths: Mapping[str, Mapping[str, str]]) -> None:
    """The settings of a command line whose HOME is `home`: credentials by host, each sent to its host alone, and where
    this user's plugins are."""
    folder = home / ".docker"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "config.json"
    path.touch(mode=0o600)
    plugins = Path("~/.docker/cli-plugins").expanduser()
    path.write_text(json.dumps({"auths": auths, "cliPluginsExtraDirs": [str(plugins)]}))


def _candidates(wanted: str) -> Iterator[str]:
    if wanted:
        yield shutil.which(wanted) or wanted
        return
    seen = set()
    for folder in f"{os.environ.get('PATH', '')}:{STANDARD_PATH}".split(":"):
        path = Path(folder or ".", "docker")
        if path.is_file() and os.access(path, os.X_OK) and path.resolve() not in seen:
            seen.add(path.resolve())
            yield str(path)


def _plugins() -> tuple[int, ...]:
    """When buildx was changed, wherever a command line looks for it; 0 where it is not."""
    folders = [Path("~/.docker").expanduser(), *(Path(root, "docker") for root in PLUGIN_ROOTS)]
    paths = [folder / "cli-plugins" / "docker-buildx" for folder in folders]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


@lru_cache(maxsize=16)
def _offers(cli: str, _changed: int, _plugins_changed: tuple[int, ...]) -> str:
    """ "buildx", "buildkit", or in words why it has neither. One that changes is tried again."""
    said, code = _ask(cli, "buildx", "version")
    if code == 0 and "buildx" in said:
        return "buildx"
    said, code = _ask(cli, "build", "--help")
    # Docker 18.09 to 22 build with BuildKit themselves; later ones leave it to the plugin.
    if code == 0 and "--iidfile" in said and _is_old(cli):
        return "buildkit"
    first = next((line for line in said.splitlines() if line.strip()), f"exit code {code}")
    return f"offers no BuildKit: {first.removeprefix('ERROR: ').strip()}"


def _is_old(cli: str) -> bool:
    said, _ = _ask(cli, "--version")
    version = said.partition("version ")[2].split(".")[0]
    return version.isdecimal() and 18 < int(version) < 23


def _ask(cli: str, *arguments: str) -> tuple[str, int]:
    env = {"PATH": STANDARD_PATH, "HOME": os.environ.get("HOME", "/"), "DOCKER_BUILDKIT": "1"}
    try:
        done = subprocess.run([cli, *arguments], env=env, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not answer within {PATIENCE:.0f} s", -1
    return (done.stdout + done.stderr).decode(errors="replace"), done.returncode
