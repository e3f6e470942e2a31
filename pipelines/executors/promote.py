"""`promote`: declares the release that an environment runs to be the good one, if it is what this run rolled out."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.definition.credentials import concealed

from .base import (
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
from .rollout import status


class PromoteExecutor:
    """Produces the release again, so that it is known to be verified."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace

    def plan(self, spec: StageSpec) -> Plan:
        release = self._release(spec)
        return Plan(
            summary=f"promote {release.meta['release']} in {spec.environment}",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={release.name: release.digest},
            parameters=concealed(spec.parameters),
            changes=[Change("verified release", after=str(release.meta["release"]))],
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        try:
            release = self._release(spec)
            if spec.approved_digest is not None and self.plan(spec).digest != spec.approved_digest:
                yield Outcome("changed", "another release would be promoted than the one that was approved")
                return
        except PlanError as error:
            yield Outcome("failed", str(error))
            return
        try:
            running = status(self.workplace.home, spec.environment or "")
        except (OSError, ValueError) as error:
            yield Outcome("engine", f"What {spec.environment} runs cannot be found out: {error}")
            return
        if running.get("release") != release.meta["release"]:
            yield Outcome(
                "failed",
                f"{spec.environment} runs {running.get('release') or 'nothing'}, this run rolled out "
                f"{release.meta['release']}; somebody rolled out or back meanwhile",
            )
            return
        yield Log(f"{release.meta['release']} is verified in {spec.environment}\n")
        yield Produced(release)
        yield Outcome("succeeded", f"{release.meta['release']} is verified in {spec.environment}")

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Probe("never_started", "it only looks, so it may look again")

    def cancel(self, spec: StageSpec, key: str) -> None:
        """It takes no time that could be cut short."""

    def _release(self, spec: StageSpec) -> Artifact:
        found = [
            a for a in spec.artifacts.values() if a.kind == "release" and a.meta.get("environment") == spec.environment
        ]
        if not found:
            raise PlanError(
                f"Stage {spec.stage}: none of the stages that it needs rolled a release out to {spec.environment}; "
                "let it need the rollout."
            )
        return found[-1]
