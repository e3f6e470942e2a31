"""`burger-runner`: does the stage of its pod, and ends with the code that tells Argo how."""

from __future__ import annotations

import json
import logging
import os
import shutil
import ssl
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.engines.work import NotNow, Task, carry_out
from pipelines.executors.base import Artifact, StageSpec, Workplace
from pipelines.executors.process import LOST
from pipelines.executors.store import Store

from .desk import Remote
from .portal import Portal, Refused, further_certificates

log = logging.getLogger("burger-runner")

CONFIGURATION, SECRETS = Path("/etc/burger"), Path("/etc/burger-secrets")
SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
ENGINE = ("ca.pem", "cert.pem", "key.pem")  # as Docker's command line has them
GONE = 2  # the portal does not know this pod


def main() -> int:
    logging.basicConfig(
        level=os.environ.get("BURGER_LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Path(os.environ["BURGER_HOME"])
    furnish(home)
    trust(home)
    identify(home)
    portal = Portal(os.environ["BURGER_PORTAL"])
    said = ""
    try:
        while True:
            answer = portal.claim()
            if answer["do"] == "end":
                log.info("%s", answer["why"])
                return int(answer["code"])
            if answer["do"] == "wait":
                if answer["why"] != said:
                    log.info("Waiting: %s", said := answer["why"])
                time.sleep(answer["seconds"])
                continue
            do(portal, answer, home)
    except Refused as refused:
        log.error("The portal refused: %s", refused)  # noqa: TRY400 - a sentence, no fault of ours
        return GONE


def furnish(home: Path) -> None:
    """What the cluster gives the pod, where and as executors look for it: readable by this user alone."""
    home.mkdir(parents=True, exist_ok=True)
    for folder, to in ((CONFIGURATION, home), *((each, home / "secrets" / each.name) for each in _folders(SECRETS))):
        for file in folder.glob("[!.]*") if folder.is_dir() else ():
            to.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy = to / file.name
            copy.touch(mode=0o600)
            shutil.copyfile(file, copy)


def trust(home: Path) -> None:
    """Let what the stage runs (git, Ansible) trust the further certificates, beside the system's."""
    if found := further_certificates():
        bundle = home / "certificates.pem"
        known = Path(ssl.get_default_verify_paths().openssl_cafile or SYSTEM)
        texts = [path.read_text() for path in (known if known.exists() else SYSTEM, *found) if path.exists()]
        bundle.write_text("\n".join(texts))
        os.environ["SSL_CERT_FILE"] = str(bundle)


def identify(home: Path) -> None:
    """Show a Docker Engine who asks, if the team has a certificate for that."""
    for folder in _folders(home / "secrets"):
        if all((folder / name).is_file() for name in ENGINE):
            os.environ |= {"DOCKER_CERT_PATH": str(folder), "DOCKER_TLS_VERIFY": "1"}


def _folders(path: Path) -> list[Path]:
    return [each for each in path.iterdir() if each.is_dir()] if path.is_dir() else []


def do(portal: Portal, answer: dict[str, Any], home: Path) -> None:
    """One attempt."""
    take_over(home, answer["keys"])
    desk = Remote(portal, answer, home)
    task = Task(
        key=answer["key"],
        number=answer["number"],
        planning=answer["planning"],
        probe=answer["probe"],
        started_at=datetime.fromisoformat(answer["started_at"]),
        stop=answer["stop"],
        commands=tuple(answer["commands"]),
    )
    log.info("%s %s", "Planning" if task.planning else "Working on", task.key)
    fetch(portal, desk.token, desk.spec(), Store(home))
    if task.probe:
        remember_a_loss(home, task.key)
    carry_out(task, desk, Workplace(home=home, measured=desk.measured))


def take_over(home: Path, keys: Mapping[str, str]) -> None:
    """The installation's keys that this stage works with, by their files: what one pod planned, another one does."""
    for name, key in keys.items():
        path = home / name
        path.touch(mode=0o600)
        path.write_text(key)


def fetch(portal: Portal, token: str, spec: StageSpec, store: Store) -> None:
    """Bring what the stages before made into this pod's store, where the portal has it."""
    known = [*spec.artifacts.values(), *([spec.released] if spec.released else [])]
    for artifact in {artifact.digest: artifact for artifact in known}.values():
        if not store.has(artifact.digest):
            _fetch_one(portal, token, artifact, store)


def _fetch_one(portal: Portal, token: str, artifact: Artifact, store: Store) -> None:
    store.temporary.mkdir(parents=True, exist_ok=True)
    delay, arriving = 0.2, store.temporary / f"arriving-{artifact.digest[7:]}"
    while True:
        try:
            found = portal.fetch(token, artifact.digest, arriving)
        except NotNow as away:
            log.warning("%s cannot be fetched, trying again in %.1f s: %s", artifact.name, delay, away)
            time.sleep(delay)
            delay = min(5.0, delay * 2)
            continue
        if found:
            store.add(arriving)
            arriving.unlink()
        return


def remember_a_loss(home: Path, key: str) -> None:
    """What another pod did with this key is not to be seen from here: executors find it as a command that was cut
    off."""
    folder = home / "work" / key / "process"
    if not folder.parent.exists():
        folder.mkdir(parents=True)
        (folder / "pid.json").write_text(json.dumps({"machine": LOST, "pid": 0, "started": 0, "token": "none"}))


if __name__ == "__main__":
    sys.exit(main())
