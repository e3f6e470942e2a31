"""`slug`: one component, built from the workspace without containers, and packed so that its digest is its
identity.

with:
  include: [ordering, manage.py]       # globs; everything when it is left out
  exclude: ["**/tests"]
  command: [uv, pip, install, --target, vendor, -r, requirements.lock]
  output: dist                         # pack this folder only
  env: {NAME: text}
  component: backend                   # the stage's name when it is left out
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath

from pipelines.definition.credentials import concealed, credentials
from pipelines.executors import process
from pipelines.executors.attempt import (
    DEFAULT_TIMEOUT,
    Attempt,
    WorkFailedError,
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
    Progress,
    StageSpec,
    Workplace,
    Yielded,
)
from pipelines.executors.masks import Masker
from pipelines.executors.store import Store

# What installers write about the very installation: when it was, and from which cache.
EXCLUDED = ("**/*.dist-info/uv_cache.json", "**/.lock", "**/*.pyc")


class SlugExecutor:
    """Produces one slug, named after the stage; its meta holds `component`, `files` (how many) and
    `commit`."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        workspace = artifact(spec)
        command = argument_list(spec) if spec.with_.get("command") else []
        env = texts(spec, "env")
        told = shown(env)
        details = {
            "command": command,
            "include": _globs(spec, "include") or ["**"],
            "exclude": _globs(spec, "exclude"),
            "output": str(_output(spec)),
            "env": told,
            "env_digest": digest_of_texts(env),
        }
        component = _component(spec)
        variables = [Change(f"variable {name}", after=value or '""') for name, value in told.items()]
        return Plan(
            summary=f"build {component} from commit {spec.commit[:12]}",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={workspace.name: workspace.digest},
            parameters=concealed(spec.parameters),
            changes=[Change(f"slug {component}", after=" ".join(command) or "the tree as it is"), *variables],
            details=details,
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=True)

    def cancel(self, spec: StageSpec, key: str) -> None:
        Attempt(self.workplace.folder(key)).cancel()

    def _work(self, spec: StageSpec, attempt: Attempt) -> Iterator[Yielded]:
        plan = self.plan(spec)
        attempt.forget_what_was_cut_off()
        self.store.unpack(artifact(spec).digest, attempt.tree)
        if plan.details["command"]:
            ended = yield from self._build(spec, attempt, plan.details["command"])
            if ended:
                yield ended
                return
        yield Progress("packing")
        packed = _inside(attempt.tree, _output(spec))
        for note in _notes(attempt.tree, packed):
            yield Log(note)
        exclude = (*EXCLUDED, *_globs(spec, "exclude"))
        digest, size = self.store.pack(packed, include=_globs(spec, "include") or ("**",), exclude=exclude)
        meta = {"component": _component(spec), "files": self.store.count(digest), "commit": spec.commit}
        yield Produced(Artifact(spec.stage, "slug", digest, size, meta))
        yield Outcome("succeeded", f"built {_component(spec)} as {digest[:19]}")

    def _build(self, spec: StageSpec, attempt: Attempt, command: list[str]) -> Generator[Yielded, None, Outcome | None]:
        env = environment(self.workplace.home, attempt.home) | texts(spec, "env")
        hidden = credentials(env)
        for event in process.run(
            attempt.process,
            command,
            cwd=attempt.tree,
            env=env,
            control=attempt,
            timeout=spec.timeout or DEFAULT_TIMEOUT,
            masker=Masker(hidden) if hidden else None,
        ):
            if isinstance(event, process.Exit):
                return outcome_of(event)
            yield event
        return None


def _component(spec: StageSpec) -> str:
    return str(spec.with_.get("component") or spec.stage)


def _globs(spec: StageSpec, name: str) -> list[str]:
    found = spec.with_.get(name) or []
    if not isinstance(found, Sequence) or isinstance(found, str) or not all(isinstance(each, str) for each in found):
        raise PlanError(f"Stage {spec.stage}: `{name}` has to be a list of globs, found {found!r}.")
    return list(found)


def _output(spec: StageSpec) -> PurePosixPath:
    path = PurePosixPath(str(spec.with_.get("output") or "."))
    if path.is_absolute() or ".." in path.parts:
        raise PlanError(f"Stage {spec.stage}: `output` has to be a folder inside the tree, found {str(path)!r}.")
    return path


def _inside(tree: Path, output: PurePosixPath) -> Path:
    folder = (tree / output).resolve()
    if not folder.is_dir() or not folder.is_relative_to(tree.resolve()):
        raise WorkFailedError(f"The build made no folder {str(output)!r}, which `output` says is to be packed.")
    return folder


def _notes(tree: Path, packed: Path) -> Iterator[str]:
    """Say which files name the build folder: it is another one each time, and the digest with it."""
    place = str(tree).encode()
    naming = [path for path in sorted(packed.rglob("*")) if _holds(path, place)]
    if naming:
        yield (
            f"{naming[0].relative_to(packed)} and {len(naming) - 1} other files hold the path of the "
            "build folder, so the same commit built again will have another digest. Exclude them, or "
            "build from a lock file.\n"
        )


def _holds(path: Path, text: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and text in path.read_bytes()
