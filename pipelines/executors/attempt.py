"""What executors that work in an attempt's folder share: doing it once, the environment, the last words."""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.definition.credentials import credentials, is_credential
from pipelines.executors import process
from pipelines.executors.base import (
    Artifact,
    Control,
    Executor,
    Log,
    Outcome,
    PlanError,
    Probe,
    Produced,
    Receipt,
    StageSpec,
    Yielded,
    refuse_changed,
)
from pipelines.executors.masks import MASK, Masker
from pipelines.executors.secrets import SecretError
from pipelines.executors.store import StoreError

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_TIMEOUT = 3600.0

# How a build reaches its package registry is a matter of the machine, not of the component.
_PASSED_ON = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}


Work = Callable[["Attempt"], Iterator[Yielded]]


class WorkFailedError(Exception):
    """The work said no; the message becomes the reason of the Outcome."""


class Attempt:
    """The folder of one attempt. It is a Control too, which knows besides whether another process canceled.

    `tree` and `home` are for the work to use and vanish with its end. `process` is the folder of its
    command; a second command has `process-2`. `result.json` holds what came out, so that a caller who comes
    later, or at the same time, says the same.
    """

    def __init__(self, folder: Path, control: Control | None = None) -> None:
        self.folder, self._control = folder, control
        self.process, self.tree, self.home = folder / "process", folder / "tree", folder / "home"
        self._result, self._canceled = folder / "result.json", folder / "canceled"

    def stopping(self) -> bool:
        return self._canceled.exists() or (self._control is not None and self._control.stopping())

    def commands(self) -> tuple[str, ...]:
        return tuple(self._control.commands()) if self._control is not None else ()

    def cancel(self) -> None:
        """Stop the attempt's commands and let none begin again. Returns once nothing of them runs."""
        self._canceled.touch()
        for folder in {self.process, *self._processes()}:
            process.cancel(folder)

    def probe(self, *, repeatable: bool) -> Probe:
        """What became of it. `repeatable` work that was cut off may simply be started again."""
        if self._result.exists():
            return Probe("done")
        found = [process.probe(folder) for folder in self._processes()]
        for state in ("running", "unknown"):
            for each in found:
                if each.state == state and (state == "running" or not repeatable):
                    return each
        if any(each.state == "done" for each in found) and not repeatable:
            return Probe("done")
        return Probe("never_started", "what it did so far can be done again without harm" if found else "")

    def begun(self) -> bool:
        return any(process.probe(folder).state != "never_started" for folder in self._processes())

    def forget_what_was_cut_off(self) -> None:
        """For repeatable work: if the keeper of a command was killed, end what is left and begin from the
        start."""
        for folder in self._processes():
            if process.probe(folder).state == "unknown":
                process.discard(folder)
                self._clean_up()

    def carry_out(self, executor: Executor, spec: StageSpec, work: Work) -> Iterator[Yielded]:
        """Yield what `work` yields and remember how it ends; or, where it ended already, what came out then.

        Nothing here locks: two callers with one key do the same steps, each of which is safe to do twice.
        """
        try:
            if not self._result.exists():
                yield from self._first_time(executor, spec, work)
                return
        except (WorkFailedError, OSError, ValueError, StoreError, SecretError, PlanError) as error:
            # Another caller that finished meanwhile also cleaned up, perhaps under our feet.
            if not self._result.exists():
                yield Outcome("failed" if isinstance(error, WorkFailedError) else "error", _sentence(error))
                return
        self._clean_up()
        yield from self._remembered()

    def _first_time(self, executor: Executor, spec: StageSpec, work: Work) -> Iterator[Yielded]:
        if self._canceled.exists() and not self.begun():
            yield Outcome("canceled", "canceled before it started")
            return
        if not self.begun() and (changed := refuse_changed(executor, spec)):
            yield changed
            return
        produced: list[Artifact] = []
        receipts: list[Receipt] = []
        for event in work(self):
            if isinstance(event, Log) and event.receipt:
                receipts = [one for one in (*receipts, event.receipt) if not one.settled]
            if isinstance(event, Outcome) and any(one.kept and not one.settled for one in receipts):
                # Once the end is remembered, nobody asks the command's output for what was not written down.
                yield Log("")
            if isinstance(event, Produced):
                produced.append(event.artifact)
            # An engine that is away is no last word: the same key begins, or goes on, once it is back.
            if isinstance(event, Outcome) and event.state != "engine" and self._remember(produced, event):
                self._clean_up()
            yield event

    def _processes(self) -> list[Path]:
        return sorted(self.folder.glob("process*"))

    def _clean_up(self) -> None:
        for path in (*self.folder.glob(self.tree.name + "*"), self.home):
            shutil.rmtree(path, ignore_errors=True)

    def _remember(self, produced: list[Artifact], outcome: Outcome) -> bool:
        """Write the last word, however long the disk refuses to take it: the work is done and must not count as
        lost. False where somebody wants it stopped meanwhile: it is told all the same, and could be found out again
        from what is left."""
        content = {"produced": [asdict(artifact) for artifact in produced], "outcome": asdict(outcome)}
        while True:
            try:
                self._write_result(content)
            except OSError:
                if self.stopping():
                    return False
                time.sleep(0.5)
            else:
                return True

    def _write_result(self, content: dict[str, Any]) -> None:
        temporary = self._result.with_name(f"result.{random.token_hex(4)}")
        try:
            with temporary.open("w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._result)
        finally:
            temporary.unlink(missing_ok=True)

    def _remembered(self) -> Iterator[Yielded]:
        content = json.loads(self._result.read_text())
        for made in content["produced"]:
            yield Produced(Artifact(**made))
        yield Outcome(**content["outcome"])


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return str(error)


def outcome_of(end: process.Exit) -> Outcome | None:
    """None for a command that succeeded, else how the stage ends."""
    if end.how == "exited" and end.code == 0:
        return None
    state = {"canceled": "canceled", "lost": "error"}.get(end.how, "failed")
    return Outcome(state, end.reason, data={"exit_code": end.code})  # type: ignore[arg-type]


def environment(home: Path, own: Path) -> dict[str, str]:
    """The least that a command needs, the same on each machine but for how to reach a package registry.

    `own` becomes its HOME. Downloads are cached below `home`, for all.
    """
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.lower().endswith("_proxy") or name.startswith(("PIP_", "UV_"))
    }
    return passed_on | {
        "PATH": f"{Path(sys.executable).parent}:{STANDARD_PATH}",
        "HOME": str(own),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_CACHE_DIR": str(home / "cache" / "pip"),
        "UV_CACHE_DIR": str(home / "cache" / "uv"),
        "UV_LINK_MODE": "copy",  # a build that edits what it installed must not edit the cache of all
    }


def shown(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a pipeline file as a plan shows them: all values, with credentials masked."""
    masker = Masker(credentials(variables))
    return {name: MASK if is_credential(name) else masker.mask(value) for name, value in sorted(variables.items())}


def digest_of_texts(values: Mapping[str, str]) -> str:
    """What tells one mapping of texts from another, where not all of it is shown."""
    return f"sha256:{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}"


def argument_list(spec: StageSpec, name: str = "command") -> list[str]:
    """The command of the stage's `with`. Raises PlanError."""
    argv = spec.with_.get(name)
    if not isinstance(argv, list | tuple) or not argv or not all(isinstance(word, str) for word in argv):
        raise PlanError(f"Stage {spec.stage}: `{name}` has to be a list of texts, the program first, found {argv!r}.")
    return list(argv)


def texts(spec: StageSpec, name: str) -> dict[str, str]:
    """A mapping of names to texts out of the stage's `with`; empty when it is not there. Raises PlanError."""
    found: Any = spec.with_.get(name) or {}
    if not isinstance(found, Mapping):
        raise PlanError(f"Stage {spec.stage}: `{name}` has to be a mapping of names to texts, found {found!r}.")
    return {str(key): str(value) for key, value in found.items()}


def artifact(spec: StageSpec, name: str | None = None) -> Artifact:
    """The artifact with this name, or the one workspace. Raises PlanError."""
    if name is not None and name in spec.artifacts:
        return spec.artifacts[name]
    if name not in (None, "workspace"):
        known = ", ".join(sorted(spec.artifacts)) or "none"
        raise PlanError(f"Stage {spec.stage}: no stage that it needs made {name!r}. There is: {known}.")
    found = sorted({each.digest: each for each in spec.artifacts.values() if each.kind == "workspace"}.items())
    if len(found) != 1:
        raise PlanError(
            f"Stage {spec.stage} needs exactly one workspace, found {len(found)}: let it need one `source` stage."
        )
    return found[0][1]
