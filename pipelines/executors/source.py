"""`source`: the tree of one commit, as committed, in the content store.

Git is used for two things only: to fetch objects into a bare mirror of the repository, and to read them.
The files are written by this module, so neither attributes, filters, hooks nor submodules of the repository
have a say.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterator
from urllib.parse import urlsplit

from pipelines.definition.credentials import concealed
from pipelines.executors import process
from pipelines.executors.attempt import Attempt, outcome_of
from pipelines.executors.base import (
    Artifact,
    Change,
    Control,
    Log,
    Outcome,
    Plan,
    PlanError,
    Probe,
    Produced,
    Progress,
    StageSpec,
    Workplace,
    Yielded,
)
from pipelines.executors.masks import Masker
from pipelines.executors.mirror import Mirror, basic
from pipelines.executors.secrets import resolve
from pipelines.executors.store import Store

DEFAULT_TIMEOUT = 900.0

_ABSENT = ("not our ref", "couldn't find remote ref", "unadvertised object")

_SCP = re.compile(r"(?P<user>[A-Za-z0-9._-]+)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:-].*)")


class RefusedInputError(ValueError):
    """An address, a ref or a commit that is not safe to hand to git. Never shows what looks like a
    credential."""


def check_address(address: str) -> str:
    """Returns a repository's address, or raises RefusedInputError.

    Possible are https://, ssh://, user@host:path, file:/// and an absolute path.
    """
    # In a path a space is a character like others.
    unspaced = address.replace(" ", "") if address.startswith("/") else address
    if not address or not address.isprintable() or any(character.isspace() for character in unspaced):
        raise RefusedInputError("A repository's address must not be empty, nor hold blanks or control characters.")
    if address.startswith("-") or "::" in address:
        raise RefusedInputError("A repository's address must not begin with - and must not hold ::.")
    if address.startswith("/") or _SCP.fullmatch(address):
        return address
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise RefusedInputError("This repository's address cannot be read; expected https://HOST/PATH.") from None
    if parts.scheme not in ("https", "ssh", "file"):
        raise RefusedInputError(
            f"Repositories are fetched by https, ssh or from an absolute path, found {parts.scheme!r}."
        )
    if parts.password is not None or (parts.scheme == "https" and parts.username is not None):
        raise RefusedInputError(
            "The repository's address holds a credential. Store it as a secret of the owning "
            "team, and name it in the stage's `with: {token: NAME}`."
        )
    if parts.query or parts.fragment or (port is not None and port == 0):
        raise RefusedInputError("A repository's address has neither a query nor a fragment nor port 0.")
    named = (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-")
    if named or bool(parts.hostname) == (parts.scheme == "file") or not parts.path.startswith("/"):
        raise RefusedInputError(f"A repository's address by {parts.scheme} needs a host (file: none) and a path.")
    return address


def check_ref(ref: str) -> str:
    """Returns the name of a branch or tag, short or from refs/ on, by git's own rules, or raises
    RefusedInputError."""
    parts = ref.split("/")
    bad = (
        not 0 < len(ref) <= 250
        or ref.startswith("-")
        or ref == "@"
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{", ref)
        or not ref.isprintable()
        or any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
    )
    if bad:
        raise RefusedInputError(f"{ref[:80]!r} is no name of a branch or tag.")
    return ref


def check_commit(commit: str) -> str:
    """Returns a commit's full name, or raises RefusedInputError."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise RefusedInputError(f"A commit is named by 40 hex digits in lower case, found {commit[:80]!r}.")
    return commit


class SourceExecutor:
    """Produces one workspace, named after the stage; its meta holds `commit` and git's `tree`."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        try:
            address, commit = check_address(spec.repository), check_commit(spec.commit)
            ref = check_ref(spec.ref) if spec.ref else ""
        except RefusedInputError as error:
            raise PlanError(f"Stage {spec.stage}: {error}") from error
        return Plan(
            summary=f"fetch commit {commit[:12]}",
            commit=commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            parameters=concealed(spec.parameters),
            changes=[Change("workspace", after=commit)],
            details={"repository": address, "ref": ref, "token": str(spec.with_.get("token", ""))},
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=True)

    def cancel(self, spec: StageSpec, key: str) -> None:
        Attempt(self.workplace.folder(key)).cancel()

    def _work(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        self.plan(spec)
        attempt.forget_what_was_cut_off()
        mirror = Mirror(self.workplace.home, spec.repository)
        with mirror.locked(attempt) as held:
            if not held:
                yield Outcome("canceled", "canceled")
                return
            mirror.prepare()
            if not mirror.has(spec.commit):
                yield Progress(f"fetching {spec.commit[:12]}")
                stopped = yield from self._fetch(spec, mirror, attempt)
                if stopped:
                    yield stopped
                    return
        tree = attempt.folder / f"{attempt.tree.name}.{os.getpid()}"
        try:
            for path in mirror.submodules(spec.commit):
                yield Log(f"{path} is a submodule; it is not fetched.\n")
            mirror.write_tree(spec.commit, tree)
            digest, size = self.store.pack(tree)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        meta = {"commit": spec.commit, "tree": mirror.tree(spec.commit)}
        yield Produced(Artifact(spec.stage, "workspace", digest, size, meta))
        yield Outcome("succeeded", f"commit {spec.commit[:12]}")

    def _fetch(self, spec: StageSpec, mirror: Mirror, attempt: Attempt) -> Generator[Yielded, None, Outcome | None]:
        """By the commit's name first; some servers only hand out what a branch or tag names.

        Returns the Outcome when this ends the stage.
        """
        token = spec.with_.get("token")
        secret = resolve(self.workplace.home, spec.owner, str(token)) if token else ""
        env = mirror.environment(token=secret)
        masker = Masker([secret, basic(secret)]) if secret else None
        wanted = {attempt.process: f"+{spec.commit}:refs/burger/{spec.commit}"}
        if spec.ref:
            wanted[attempt.folder / "process-2"] = f"+{spec.ref}:refs/burger/{spec.commit}"
        output, reason = "", ""
        for folder, refspec in wanted.items():
            argv = [
                "git",
                "fetch",
                "--no-tags",
                "--no-write-fetch-head",
                "--force",
                "--",
                mirror.address,
                refspec,
            ]
            for event in process.run(
                folder,
                argv,
                cwd=mirror.folder,
                env=env,
                control=attempt,
                timeout=spec.timeout or DEFAULT_TIMEOUT,
                masker=masker,
            ):
                if isinstance(event, Log):
                    output += event.text
                    yield event
                    continue
                reason = event.reason
                if event.how != "exited":
                    return outcome_of(event)
            if mirror.has(spec.commit):
                return None
        said = output.strip().rpartition("\n")[2] or f"git: {reason}"
        message = f"The commit {spec.commit} could not be fetched from {mirror.address}: {said}"
        # Where the server answered, the commit is not there; else another try may reach it.
        answered = reason == "exit code 0" or any(words in output for words in _ABSENT)
        return Outcome("failed" if answered else "error", message)
