"""`build`: an image of one component, from the workspace at the commit, by a Docker Engine.

The image stays in the engine, under a local name that is its attempt's own, and is named by the engine's id of it from
here on. settings.py shows what a stage says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.definition.credentials import concealed, credentials
from pipelines.executors import process
from pipelines.executors.attempt import DEFAULT_TIMEOUT, Attempt, artifact, outcome_of
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
from pipelines.executors.build import builders, classic, order, steps, words
from pipelines.executors.build.builders import Builder
from pipelines.executors.build.context import dockerfile_of
from pipelines.executors.build.dockerfile import Facts, read
from pipelines.executors.build.engine import Engine, EngineAwayError, Image
from pipelines.executors.build.scope import scope_of
from pipelines.executors.build.settings import Settings, settings_of
from pipelines.executors.connections import Connections, ConnectionsError, load
from pipelines.executors.masks import Masker
from pipelines.executors.secrets import resolve
from pipelines.executors.store import Store, StoreError

OUTPUT_LIMIT = 50 * 2**20
KEPT = 20  # local names of earlier images of a component, so that gates may wait and disks do not fill up
PAUSE = 0.5  # seconds for an engine that was lost to come back before the stage waits for it


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be built, as far as it is known without the engine."""

    settings: Settings
    facts: Facts
    args: dict[str, str]
    connections: Connections


class BuildExecutor:
    """Produces one image, named after the stage; its digest is the engine's id of it. Its meta holds `component`,
    `commit`, `tag` (its local name), `builder`, `layers` ({size, made_by}), `seconds`, `steps` and `cached`."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.store = Store(workplace.home)

    def plan(self, spec: StageSpec) -> Plan:
        workspace, asked = artifact(spec), self._asked(spec)
        settings = asked.settings
        return Plan(
            summary=f"build the image of {settings.component} from commit {spec.commit[:12]}",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={workspace.name: workspace.digest},
            parameters=concealed(spec.parameters),
            changes=[Change(f"image {settings.component}", after=f"{settings.dockerfile} at {spec.commit[:12]}")],
            details={
                "dockerfile": settings.dockerfile,
                "context": settings.context,
                "target": settings.target,
                "bases": [base.image for base in asked.facts.bases],
                "args": asked.args,
                "secrets": dict(settings.secrets),
                "registries": {host: dict(pair) for host, pair in settings.registries.items()},
                "cache_from": list(settings.cache_from),
                "limits": {"memory": settings.memory, "cpus": settings.cpus},
                "timeout": spec.timeout or DEFAULT_TIMEOUT,
            },
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        attempt = Attempt(self.workplace.folder(key), control)
        yield from attempt.carry_out(self, spec, lambda attempt: self._work(spec, attempt, key))

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Attempt(self.workplace.folder(key)).probe(repeatable=True)

    def cancel(self, spec: StageSpec, key: str) -> None:
        Attempt(self.workplace.folder(key)).cancel()

    # --- the work -----------------------------------------------------------------------------------------

    def _work(self, spec: StageSpec, attempt: Attempt, key: str) -> Iterator[Yielded]:
        """Build; where the engine is lost under it, build once more."""
        asked = self._asked(spec)
        engine = Engine(asked.connections.docker.host)
        attempt.forget_what_was_cut_off()
        while True:
            # Known by a file, so that it is counted over workers and over waits for the engine.
            again = (attempt.folder / "lost").exists()
            folder = attempt.folder / ("process-2" if again else "process")
            try:
                ended = yield from self._once(spec, asked, attempt, folder, engine, key)
            except EngineAwayError as error:
                yield Outcome("engine", str(error))
                return
            if ended is not None:
                yield ended
                return
            if again:
                yield Outcome("error", f"The engine at {engine.name} was lost twice while it built. See its log.")
                return
            (attempt.folder / "lost").touch()
            yield Log(f"The engine at {engine.name} was lost; building {spec.commit[:12]} anew once it is there.\n")
            time.sleep(PAUSE)

    def _once(
        self, spec: StageSpec, asked: _Asked, attempt: Attempt, folder: Path, engine: Engine, key: str
    ) -> Generator[Yielded, None, Outcome | None]:
        """One build, from its beginning, or joined. None when the engine was lost under it."""
        builder = self._begun(folder)
        if builder is None:
            engine.ping()
            builder, why = words.choose(asked.settings, builders.find(asked.connections.docker))
            if refused := words.refusal(asked.settings, asked.facts, builder, why):
                return Outcome("failed", refused)
            if plain := engine.plain(asked.settings.registries):
                return Outcome("failed", words.plain(engine.name, plain))
            yield Log(f"Building with {builder.words}.{f' {why}.' if why else ''}\n")
            _remember(folder, builder)
        self.store.unpack(artifact(spec).digest, attempt.tree)
        said = steps.load(_beside(folder, "steps"))
        end = yield from self._follow(self._order(spec, asked, attempt, key), builder, attempt, folder, engine, said)
        if end.how == "exited" and end.code:
            # What the classic builder prints is also what the steps print: it tells by its exit code.
            lost = said.lost if builder.buildkit else end.code == classic.LOST
            if lost or _is_away(engine):
                return None
            return Outcome("failed", words.failure(asked.settings, asked.facts, said, end.reason))
        if ended := outcome_of(end):
            return ended
        return (yield from self._built(spec, asked, attempt, folder, builder, engine, said, key))

    def _follow(
        self, wanted: order.Order, builder: Builder, attempt: Attempt, folder: Path, engine: Engine, said: steps.Steps
    ) -> Generator[Yielded, None, process.Exit]:
        env = order.env(wanted, builder, self.workplace.home, attempt.home)
        passwords = [pair["password"] for pair in wanted.auth.values()]
        for event in process.run(
            folder,
            order.command(wanted, builder),
            cwd=attempt.tree,
            env=env,
            control=attempt,
            timeout=wanted.spec.timeout or DEFAULT_TIMEOUT,
            output_limit=OUTPUT_LIMIT,
            masker=Masker([*wanted.secrets.values(), *passwords, *credentials({**env, **wanted.args})]),
            stdin=b"" if process.probe(folder).state != "never_started" else order.stdin(wanted, builder, engine),
        ):
            if isinstance(event, process.Exit):
                return event
            changed = said.feed(event.text)
            steps.save(said, _beside(folder, "steps"))
            yield event
            if changed:
                yield _progress(said)
        raise AssertionError("process.run ended without an Exit")

    def _built(
        self,
        spec: StageSpec,
        asked: _Asked,
        attempt: Attempt,
        folder: Path,
        builder: Builder,
        engine: Engine,
        said: steps.Steps,
        key: str,
    ) -> Generator[Yielded, None, Outcome]:
        said.finish()
        image = engine.image(_image_file(attempt).read_text().strip())
        if image is None:
            return Outcome("error", f"The engine at {engine.name} has no image of this build. Was it removed by hand?")
        seconds = _beside(folder, "began").stat().st_mtime
        seconds = max(0.0, (folder / "exit.json").stat().st_mtime - seconds)
        done, cached, _ = said.counted()
        tag = self._tag(spec, asked, key)
        if same := self._unchanged(engine, image, spec.released):
            # Under its former digest, so that nothing that runs it is replaced for the sake of a label.
            yield Log(f"The same as in the last release, {same.id}, and known by that digest.\n")
            image = same
            engine.tag(image.id, tag)
        facts: dict[str, Any] = {
            "component": asked.settings.component,
            "commit": spec.commit,
            "tag": tag,
            "builder": builder.words,
            "layers": [{"size": layer.size, "made_by": layer.made_by} for layer in image.layers],
            "seconds": round(seconds, 2),
            "steps": done,
            "cached": cached,
        }
        self._forget_older(engine, tag)
        sentence = words.summary(image, said, seconds, spec.released)
        yield Log(words.table(image))
        yield Produced(Artifact(spec.stage, "image", image.id, image.size, facts))
        before = {"before": spec.released.size} if spec.released else {}
        return Outcome(
            "succeeded",
            f"built {asked.settings.component} as {image.id[:19]} with {builder.words}: {sentence}",
            data={"size": image.size, **{name: facts[name] for name in ("seconds", "steps", "cached")}, **before},
        )

    def _unchanged(self, engine: Engine, image: Image, released: Artifact | None) -> Image | None:
        """The last release's image if it holds the same and the engine still has it."""
        before = engine.image(released.digest) if released and released.kind == "image" else None
        return before if before and before.content == image.content else None

    # --- what it takes ------------------------------------------------------------------------------------

    def _asked(self, spec: StageSpec) -> _Asked:
        """Raises PlanError."""
        settings = settings_of(spec)
        try:
            connections = load(self.workplace.home)
            archive = self.store.path(artifact(spec).digest)
        except (ConnectionsError, StoreError) as error:
            raise PlanError(f"Stage {spec.stage}: {error}") from error
        text = dockerfile_of(archive, settings.dockerfile, settings.context)
        args = {**connections.docker.args, **settings.args}
        facts = read(text, args)
        _check(spec, settings, facts, connections)
        # The machine's own arguments go only to those who ask for them.
        known = {name: value for name, value in args.items() if name in settings.args or name in facts.arguments}
        return _Asked(settings, facts, known, connections)

    def _order(self, spec: StageSpec, asked: _Asked, attempt: Attempt, key: str) -> order.Order:
        """Raises SecretError."""
        home, settings = self.workplace.home, asked.settings
        return order.Order(
            spec=spec,
            settings=settings,
            docker=asked.connections.docker,
            scope=scope_of(home, asked.connections.docker, spec, settings.component),
            args=asked.args,
            tree=attempt.tree,
            image=_image_file(attempt),
            tag=self._tag(spec, asked, key),
            secrets={name: resolve(home, spec.owner, text) for name, text in settings.secrets.items()},
            auth={
                host: {name: resolve(home, spec.owner, text) for name, text in pair.items()}
                for host, pair in settings.registries.items()
            },
        )

    def _tag(self, spec: StageSpec, asked: _Asked, key: str) -> str:
        scope = scope_of(self.workplace.home, asked.connections.docker, spec, asked.settings.component)
        return f"{scope.repository}:{key[-128:].lstrip('-')}"

    def _begun(self, folder: Path) -> Builder | None:
        """The builder that an earlier call began with; None where none did."""
        if process.probe(folder).state == "never_started":
            return None
        return Builder(**json.loads(_beside(folder, "began").read_text()))

    def _forget_older(self, engine: Engine, tag: str) -> None:
        for old in engine.tags(tag.rpartition(":")[0])[KEPT:]:
            if old != tag:
                engine.forget(old)


def _check(spec: StageSpec, settings: Settings, facts: Facts, connections: Connections) -> None:
    for base in facts.bases:
        if not base.image:
            raise PlanError(
                f"{settings.dockerfile}, line {base.line}: nothing says which image this is. "
                f"Give the build argument {base.argument} in `args`, or in `docker.args` of connections.yaml."
            )
    if settings.target and settings.target.lower() not in facts.targets:
        known = ", ".join(sorted(facts.targets)) or "none with a name"
        raise PlanError(f"{settings.dockerfile} has no stage {settings.target!r}; it has {known}.")
    if strange := sorted(settings.registries.keys() - connections.registries.keys()):
        raise PlanError(
            f"Stage {spec.stage}: a credential is only sent to registries that connections.yaml lists, and "
            f"{', '.join(strange)} is none of {', '.join(sorted(connections.registries)) or '(none)'}. Add it there "
            "under `registries`, or take it out of the stage's `registries`."
        )
    bundle = connections.docker.ca_bundle
    if bundle and not bundle.is_file():
        raise PlanError(f"Stage {spec.stage}: `docker.ca_bundle` of connections.yaml is {bundle}, which is no file.")


def _progress(said: steps.Steps) -> Progress:
    done, cached, total = said.counted()
    text = f"step {min(done + 1, total)} of {total}" + (f", {cached} from the cache" if cached else "")
    return Progress(text, done=done, total=total, data={"cached": cached, "steps": said.told()})


def _remember(folder: Path, builder: Builder) -> None:
    """With which builder and when, before the command begins."""
    _beside(folder, "began").write_text(json.dumps({"kind": builder.kind, "cli": builder.cli}))


def _beside(folder: Path, name: str) -> Path:
    return folder.with_name(f"{name}-{folder.name}.json")


def _image_file(attempt: Attempt) -> Path:
    return attempt.folder / "image"


def _is_away(engine: Engine) -> bool:
    try:
        engine.ping()
    except EngineAwayError:
        return True
    return False
