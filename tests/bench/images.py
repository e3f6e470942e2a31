"""The project's images against one-stage builds, and `build` against the command line: `python -m tests.bench.images`.

A one-stage build is the shortest Dockerfile that gives the same component: the same base, the same packages, the tree.
The floor of the time is the same command line called directly, with the same context, as cold as ours.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from pipelines.executors.base import Artifact
from pipelines.executors.build import builders
from pipelines.executors.connections import Docker
from tests.cluster.build_helpers import Site
from tests.cluster.facts import Facts, facts

from .place import ROOT
from .result import Result, median, tell

ROUNDS = 3
SIZE_GOAL = 0.4
TIME_GOAL = 1.05
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
MISSING = "no engine is up: `make cluster` starts one"

_PIP = "python3 -m pip install --break-system-packages -r docker/backend/requirements.lock"
_COLLECT = "python3 -m ordering.site.build_frontend ."
_PYTHON = "ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE}\nWORKDIR /srv/shop\nCOPY . .\n"
ONE_STAGE = {
    "agent": _PYTHON,
    "backend": f"{_PYTHON}RUN {_PIP} -r docker/backend/postgresql.lock && {_COLLECT}\n",
    "frontend": f"{_PYTHON}RUN {_PIP} && {_COLLECT}\n",
    "database": "ARG DEBIAN_IMAGE\nFROM ${DEBIAN_IMAGE}\nCOPY . /srv\n"
    "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y postgresql\n",
}


class Bench:
    def __init__(self, folder: Path, known: Facts) -> None:
        self.folder, self.facts = folder, known
        self.bundle = {"ca_bundle": str(BUNDLE)} if BUNDLE.exists() else {}
        self.args = {"PYTHON_IMAGE": known.base_image["python"], "DEBIAN_IMAGE": known.base_image["debian"]}
        self.tree = folder / "tree"
        for name in ("docker", "ordering"):
            shutil.copytree(ROOT / name, self.tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / ".dockerignore", self.tree)
        for name, text in ONE_STAGE.items():
            (self.tree / f"{name}.one-stage").write_text(text)
        self._log_in()

    def _log_in(self) -> None:
        """The base images may have to be pulled from the registry, by the command line too."""
        registry = self.facts.registry
        known = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        config = self.folder / ".docker" / "config.json"
        config.parent.mkdir(mode=0o700)
        config.write_text(json.dumps({"auths": {registry.address: {"auth": known}}}))

    def build(self, home: Path, component: str, dockerfile: str) -> tuple[Artifact, float]:
        """An image and the seconds that it took, from the call of the executor to its outcome."""
        site = Site(home, self.facts.docker_host, args=self.args, **self.bundle)
        registry = self.facts.registry
        site.secret("user", registry.username)
        site.secret("password", registry.password)
        credential = {registry.address: {"secrets": {"username": "user", "password": "password"}}}
        spec = site.spec(
            site.packed(self.tree), pipeline="bench", stage=f"build-{component}", component=component,
            dockerfile=dockerfile, registries=credential,
        )  # fmt: skip
        began = time.perf_counter()
        result = site.build(spec, f"bench-{secrets.token_hex(4)}")
        seconds = time.perf_counter() - began
        if result.artifact is None:
            raise SystemExit(f"{dockerfile}: {result.outcome.reason}")
        self.docker("rmi", result.artifact.meta["tag"])
        return result.artifact, seconds

    def by_hand(self, component: str) -> float:
        """The same build by the command line, as cold: with a name of a cache that nobody used before."""
        docker = Docker(self.facts.docker_host)
        builder, scope = builders.find(docker), secrets.token_hex(20)
        words = ["buildx", "build", "--load"] if builder.kind == "buildx" else ["build"]
        args = [word for name, text in self.args.items() for word in ("--build-arg", f"{name}={text}")]
        bundle = ["--secret", f"id=ca,src={BUNDLE}"] if self.bundle else []
        tag = f"bench/by-hand:{scope[:12]}"
        command = [
            builder.cli, *words, "--progress=plain", "--file", str(self.tree / f"docker/{component}/Dockerfile"), *args,
            *bundle, "--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={scope}", "--add-host", f"{scope}.invalid:127.0.0.1",
            "--tag", tag, str(self.tree),
        ]  # fmt: skip
        env = builders.variables(docker) | {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        began = time.perf_counter()
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=600)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
        self.docker("rmi", tag)
        return seconds

    def docker(self, *words: str) -> None:
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.facts.docker_host, "HOME": str(self.folder)}
        subprocess.run([self.facts.docker, *words], env=env, check=True, capture_output=True, timeout=120)


def sizes(bench: Bench) -> list[Result]:
    home = bench.folder / "sizes"
    found = []
    for component in sorted(ONE_STAGE):
        ours, _ = bench.build(home, component, f"docker/{component}/Dockerfile")
        floor, _ = bench.build(home, component, f"{component}.one-stage")
        name = f"image of {component} by a one-stage build"
        found.append(Result(name, ours.size / 1e6, floor.size / 1e6, SIZE_GOAL, "MB"))
    return found


def times(bench: Bench) -> Result:
    ours, floors = [], []
    for number in range(ROUNDS):
        floors.append(bench.by_hand("backend"))
        ours.append(bench.build(bench.folder / f"cold-{number}", "backend", "docker/backend/Dockerfile")[1])
    return Result("build by the docker command line", median(ours), median(floors), TIME_GOAL, "s")


def main() -> None:
    known = facts()
    if known is None:
        names = [f"image of {component} by a one-stage build" for component in sorted(ONE_STAGE)]
        absent = [Result(name, None, None, SIZE_GOAL, "MB", note=MISSING) for name in names]
        tell([*absent, Result("build by the docker command line", None, None, TIME_GOAL, "s", note=MISSING)])
        return
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), known)
        tell([*sizes(bench), times(bench)])


if __name__ == "__main__":
    main()
