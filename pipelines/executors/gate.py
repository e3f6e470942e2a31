"""`gate` and `noop`: no work of their own.

What a gate's teams approve is that the stages behind it may go on, with these artifacts.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.definition.credentials import concealed

from .base import Change, Control, Outcome, Plan, Probe, StageSpec, Workplace, Yielded


class GateExecutor:
    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace

    def plan(self, spec: StageSpec) -> Plan:
        held = spec.with_.get("changes", [])
        return Plan(
            summary="accept the change of ownership" if held else "let the run go on",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={name: a.digest for name, a in spec.artifacts.items() if a.kind != "workspace"},
            parameters=concealed(spec.parameters),
            changes=[
                Change(f"{c['stage']}: {c['field']} (now decided by {c['team']})", str(c["before"]), str(c["after"]))
                for c in held
            ],
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        if spec.approved_digest is not None and self.plan(spec).digest != spec.approved_digest:
            yield Outcome("changed", "what waits behind the gate has changed since it was approved")
            return
        yield Outcome("succeeded")

    def probe(self, spec: StageSpec, key: str) -> Probe:
        return Probe("never_started")

    def cancel(self, spec: StageSpec, key: str) -> None:
        """Nothing is ever under way."""
