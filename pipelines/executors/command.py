"""`command`: a command of the repository, run in a private copy of the workspace or of a slug.

with:
  command: [make, test]
  in: workspace                        # or the name of a stage that made a slug
  env: {NAME: text}
  secrets: {NAME: reference}           # resolved for the owning team, handed over as variables only
  output_limit: 10485760               # bytes
  report: reports/junit.xml            # a file or folder to keep, if the command made it
  repeatable: true                     # may be run again when it was cut off: tests may, a migration may not
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipelines.definition import forms
from pipelines.definition.credentials import concealed, credentials
from pipelines.executors import process
from pipelines.executors.attempt import (
    DEFAULT_TIMEOUT,
    Attempt,
    argument_list,
    artifact,
    digest_of_texts,
    environment,
    outcome_of,
    shown,
    texts,
)
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
    StageSpec,
    Workplace,
    Yielded,
)
from pipelines.executors.masks import Masker
from pipelines.executors.secrets import SecretError, resolve
from pipelines.executors.store import Store

DEFAULT_OUTPUT_LIMIT = 10 * 2**20

_VARIABLE = forms.written(forms.VARIABLE)
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CommandExecutor:
    """Succeeds when the command exits with 0. Produces its `report`, if there is one, named after the
    stage."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        """Shows each variable and its value, but masks what is named like a credential or has one in it: that counts
        only through a digest, so that a change of it is a change."""
        argv, tree = argument_list(spec), artifact(spec, spec.with_.get("in"))
        env, secrets = texts(spec, "env"), texts(spec, "secrets")
        _check_names(spec, (*env, *secrets))
        _report(spec)
        where, told = f"{tree.kind} {tree.name}", shown(env)
        return Plan(
            summary=f"run `{' '.join(argv)}`" + (f" for {spec.environment}" if spec.environment else ""),
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={tree.name: tree.digest},
            parameters=concealed(spec.parameters),
            changes=[
                Change(f"command in {where}", after=shlex.join(argv)),
                *(Change(f"variable {name}", after=value or '""') for name, value in told.items()),
                *(Change(f"secret {name}", after=f"{ref} of {spec.owner}") for name, ref in sorted(secrets.items())),
            ],
            details={
                "command": argv,
                "in": where,
                "env": told,
                "env_digest": digest_of_texts(env),
                "secrets": dict(sorted(secrets.items())),
                "timeout": spec.timeout or DEFAULT_TIMEOUT,
                "output_limit": _output_limit(spec),
                "report": str(_report(spec) or ""),
            },
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=_repeatable(spec))

    def cancel(self, spec: StageSpec, key: str) -> None:
        Attempt(self.workplace.folder(key)).cancel()

    def _work(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        plan = self.plan(spec)
        if _repeatable(spec):
            attempt.forget_what_was_cut_off()
        try:
            secrets = {
                name: resolve(self.workplace.home, spec.owner, reference)
                for name, reference in plan.details["secrets"].items()
            }
        except SecretError:
            if attempt.begun():
                attempt.cancel()  # without its secrets, what an earlier call started cannot be masked
            raise
        self._prepare(spec, attempt)
        env = self._environment(spec, attempt) | secrets
        masker = Masker([*secrets.values(), *credentials(env)])
        for event in process.run(
            attempt.process,
            plan.details["command"],
            cwd=attempt.tree,
            env=env,
            control=attempt,
            timeout=plan.details["timeout"],
            output_limit=plan.details["output_limit"],
            masker=masker,
        ):
            if isinstance(event, process.Exit):
                yield from self._kept(spec, attempt, masker)
                yield outcome_of(event) or Outcome("succeeded", event.reason, data={"exit_code": 0})
            else:
                yield event

    def _prepare(self, spec: StageSpec, attempt: Attempt) -> None:
        if not attempt.begun():
            self.store.unpack(artifact(spec, spec.with_.get("in")).digest, attempt.tree)

    def _environment(self, spec: StageSpec, attempt: Attempt) -> dict[str, str]:
        told = {
            "BURGER_RUN": str(spec.run),
            "BURGER_STAGE": spec.stage,
            "BURGER_COMMIT": spec.commit,
            "BURGER_ENVIRONMENT": spec.environment or "",
        }
        if spec.environment:
            told["DATA_DIR"] = str(self._data(spec.environment))
        return environment(self.workplace.home, attempt.home) | texts(spec, "env") | told

    def _data(self, name: str) -> Path:
        if not _ENVIRONMENT.fullmatch(name):
            raise PlanError(f"{name!r} cannot be the name of an environment: letters, digits, . _ - are possible.")
        folder = self.workplace.home / "environments" / name / "data"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        return folder

    def _kept(self, spec: StageSpec, attempt: Attempt, masker: Masker) -> Iterator[Yielded]:
        """The report as an artifact, masked like everything that leaves."""
        wanted = _report(spec)
        if wanted is None:
            return
        path = (attempt.tree / wanted).resolve()
        if not path.exists() or not path.is_relative_to(attempt.tree.resolve()):
            yield Log(f"There is no report: the command did not make {wanted}.\n")
            return
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not file.is_symlink():
                _mask_file(file, masker)
        digest, size = self.store.add(path) if path.is_file() else self.store.pack(path)
        meta = {"path": str(wanted), "packed": path.is_dir()}
        yield Produced(Artifact(spec.stage, "report", digest, size, meta))


def _mask_file(path: Path, masker: Masker) -> None:
    # Any bytes survive this way and back.
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    masked = masker.mask(text)
    if masked != text:
        path.unlink()  # it may share its content with another name, or be read-only
        path.write_bytes(masked.encode("utf-8", "surrogateescape"))


def _repeatable(spec: StageSpec) -> bool:
    return spec.with_.get("repeatable") is True


def _report(spec: StageSpec) -> PurePosixPath | None:
    found = spec.with_.get("report")
    if found is None:
        return None
    path = PurePosixPath(str(found))
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise PlanError(f"Stage {spec.stage}: `report` has to be a path inside the tree, found {found!r}.")
    return path


def _output_limit(spec: StageSpec) -> int:
    found = spec.with_.get("output_limit", DEFAULT_OUTPUT_LIMIT)
    if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
        raise PlanError(f"Stage {spec.stage}: `output_limit` is a number of bytes above 0, found {found!r}.")
    return found


def _check_names(spec: StageSpec, names: tuple[str, ...]) -> None:
    for name in names:
        if not _VARIABLE.fullmatch(name) or names.count(name) > 1:
            raise PlanError(
                f"Stage {spec.stage}: {name!r} cannot be a variable of `env` or `secrets`: it needs "
                "letters, digits and _, and to be there once."
            )
