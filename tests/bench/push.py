"""Pushing images: the publish stage, by `docker push` of images of the same size to the same registry."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from docker.api.client import APIClient

from pipelines.executors.base import Artifact, Outcome, StageSpec, Unattended, Workplace
from pipelines.executors.publish import PublishExecutor
from tests.cluster import Facts, facts
from tests.executors.publish import registries

from .result import Result, median, tell

ROUNDS = 5
LAYERS = (60, 60, 20)  # megabytes each
COMMIT = "b" * 40
GOAL = 1.05
MOMENT = 400.0  # ms
NEW, KNOWN = "push of 140 MB that the registry does not have", "push of an image that it has"


def image(engine: APIClient) -> str:
    """The id of a new image whose layers nobody has."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        lines = ["FROM scratch", *(f"COPY {number} /{number}" for number in range(len(LAYERS)))]
        contents = {"Dockerfile": "\n".join(lines).encode()}
        # Half of it can be compressed, as in programs.
        contents |= {
            str(number): b"".join(os.urandom(512) + bytes(512) for _ in range(size * 1024))
            for number, size in enumerate(LAYERS)
        }
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    context.seek(0)
    answers = list(engine.build(fileobj=context, custom_context=True, rm=True, decode=True, tag="publish-bench"))
    return str(next(answer["aux"]["ID"] for answer in answers if "aux" in answer))


class Sides:
    """Both ways of pushing to one registry, each as a call that takes an image and returns seconds."""

    def __init__(self, known: Facts, running: registries.Running, folder: Path) -> None:
        self.known, self.running, self.folder = known, running, folder
        self.publish, self.count = PublishExecutor(Workplace(folder / "var")), 0
        secrets = folder / "var" / "secrets" / "dev"
        secrets.mkdir(parents=True)
        for name, value in (("user", registries.USER), ("password", registries.PASSWORD)):
            (secrets / name).touch(mode=0o600)
            (secrets / name).write_text(value)
        connections = {
            "docker": {"host": known.docker_host},
            "registries": {running.address: {"ca": str(running.ca)}},
        }
        (folder / "var" / "connections.yaml").write_text(json.dumps(connections))
        self._docker("login", "--username", registries.USER, "--password-stdin", running.address)

    def ours(self, found: str) -> float:
        self.count += 1
        made = Artifact("build", "image", found, 1, {"component": "ours", "commit": COMMIT})
        with_ = {
            "artifacts": ["build"], "registry": self.running.address, "repository": "bench",
            "secrets": {"username": "user", "password": "password"},
        }  # fmt: skip
        spec = StageSpec(
            run=self.count, pipeline="bench", stage="publish", kind="publish", owner="dev", commit=COMMIT,
            artifacts={"build": made}, with_=with_,
        )  # fmt: skip
        began = time.perf_counter()
        *_, last = self.publish.start(spec, f"k-{self.count}", Unattended())
        took = time.perf_counter() - began
        if not isinstance(last, Outcome) or last.state != "succeeded":
            raise RuntimeError(f"the publish stage ended with {last}")
        return took

    def dockers(self, found: str) -> float:
        name = f"{self.running.address}/bench/docker:1"
        self._docker("tag", found, name)
        began = time.perf_counter()
        self._docker("push", name)
        took = time.perf_counter() - began
        self._docker("rmi", name)
        return took

    def _docker(self, *arguments: str) -> None:
        command = [
            self.known.docker, "--config", str(self.folder / "docker"), "--host", self.known.docker_host, *arguments
        ]  # fmt: skip
        subprocess.run(command, input=registries.PASSWORD.encode(), check=True, stdout=subprocess.DEVNULL)


def measure(known: Facts, folder: Path) -> list[Result]:
    assert known.ca is not None
    assert known.host is not None
    trusted = folder / "registry"
    trusted.mkdir()
    shutil.copy(known.ca.certificate, trusted / "ca.crt")
    shutil.copy(known.ca.key, trusted / "ca.key")
    engine = APIClient(base_url=known.docker_host, version="auto")
    times: dict[tuple[str, str], list[float]] = {}
    with registries.serve(trusted, host=known.host) as running:
        sides = Sides(known, running, folder)
        ways: dict[str, Callable[[str], float]] = {"ours": sides.ours, "floor": sides.dockers}
        for number in range(ROUNDS):
            for who in sorted(ways, reverse=bool(number % 2)):
                found = image(engine)
                for what in (NEW, KNOWN):
                    times.setdefault((what, who), []).append(ways[who](found))
                engine.remove_image(found, force=True)
    return [result(what, *(1000 * median(times[what, who]) for who in ("ours", "floor"))) for what in (NEW, KNOWN)]


def result(what: str, ours: float | None, floor: float | None, note: str = "") -> Result:
    """By `docker push`, where bytes are sent. Where none are, both take a moment, in which we look up besides what
    the registry holds now; that moment must stay one."""
    if what == NEW:
        return Result(what, ours, floor, GOAL, "ms", note=note)
    return Result(what, ours, floor, MOMENT, "ms", "ours", note)


def main() -> None:
    known = facts()
    if known is None or known.ca is None or known.host is None or not registries.installed():
        tell([result(what, None, None, "needs the engine of `make cluster`") for what in (NEW, KNOWN)])
        return
    with tempfile.TemporaryDirectory(prefix="burger-bench-") as folder:
        tell(measure(known, Path(folder)))


if __name__ == "__main__":
    main()
