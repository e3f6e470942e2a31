"""This project's own pipeline file."""

from __future__ import annotations

from pathlib import Path

from pipelines.definition.parse import parse
from pipelines.definition.report import format_problems

FILE = Path(__file__).resolve().parents[2] / "pipeline.yaml"


def test_it_has_no_problems():
    text = FILE.read_text()
    result = parse(text, teams={"dev", "ops", "platform"})
    assert format_problems(result.problems, "pipeline.yaml", text) == ""


def test_it_is_a_real_graph_with_gates_of_ops_and_platform():
    definition = parse(FILE.read_text()).definition
    assert definition is not None
    assert len(definition.stages) >= 12
    assert len([stage for stage in definition.stages if stage.needs == ("source",)]) >= 3
    gates = {team.team for stage in definition.stages if stage.gate for team in stage.gate.teams}
    assert gates == {"ops", "platform"}


def test_nothing_reaches_production_without_a_gate_before_it():
    """Walk back from each production stage: a gate has to stand on every way."""
    definition = parse(FILE.read_text()).definition
    assert definition is not None
    by_name = {stage.name: stage for stage in definition.stages}

    def guarded(name: str) -> bool:
        stage = by_name[name]
        return stage.gate is not None or (bool(stage.needs) and all(guarded(need) for need in stage.needs))

    assert all(guarded(stage.name) for stage in definition.stages if stage.environment == "production")
