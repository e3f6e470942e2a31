"""An executor that does what the test says, for the engine's own rules. The real ones are tried in tests/executors
and, with the engine, in tests/torture and the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.executors import registry
from pipelines.executors.base import Control, EngineAwayError, Outcome, Plan, Probe, StageSpec, Workplace, Yielded

Script = Callable[[StageSpec, Control], Iterator[Yielded]]


class Scripts:
    """What each stage does, by its name; a stage without a script succeeds. Keeps what was called. `unstoppable` says
    why a stage cannot be stopped now, `unplannable` what making its plan raises."""

    def __init__(self) -> None:
        self.kinds = {"command"}
        self.work: dict[str, Script] = {}
        self.facts: dict[str, str] = {}
        self.probes: dict[str, Probe] = {}
        self.unstoppable: dict[str, str] = {}
        self.unplannable: dict[str, Exception] = {}
        self.calls: list[tuple[str, str]] = []

    def ends(self, stage: str, *outcomes: Outcome) -> None:
        """Let the stage end like this at its first start, its second, and so on; the last one stays."""
        left = list(outcomes)

        def script(spec: StageSpec, control: Control) -> Iterator[Yielded]:
            yield left.pop(0) if len(left) > 1 else left[0]

        self.work[stage] = script


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    """Stages of the kind `command` follow the test's script."""
    known = Scripts()

    class Scripted:
        def __init__(self, workplace: Workplace) -> None:
            self.workplace = workplace

        def plan(self, spec: StageSpec) -> Plan:
            known.calls.append(("plan", spec.stage))
            if error := known.unplannable.get(spec.stage):
                raise error
            fact = known.facts.get(spec.stage, "")
            return Plan(summary=f"do {spec.stage} {fact}", commit=spec.commit, kind=spec.kind, stage=spec.stage)

        def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
            known.calls.append(("start", spec.stage))
            if spec.approved_digest and self.plan(spec).digest != spec.approved_digest:
                yield Outcome("changed", "the plan has changed")
                return
            script = known.work.get(spec.stage)
            if script is None:
                yield Outcome("succeeded")
            else:
                yield from script(spec, control)

        def probe(self, spec: StageSpec, key: str) -> Probe:
            known.calls.append(("probe", spec.stage))
            return known.probes.get(spec.stage, Probe("never_started"))

        def cancel(self, spec: StageSpec, key: str) -> None:
            known.calls.append(("cancel", spec.stage))
            if why := known.unstoppable.get(spec.stage):
                raise EngineAwayError(why)

    real = registry.make

    def make(kind: str, workplace: Workplace) -> Any:
        return Scripted(workplace) if kind in known.kinds else real(kind, workplace)

    monkeypatch.setattr(registry, "make", make)
    return known
