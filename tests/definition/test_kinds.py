"""What a stage's `with` may say of budgets, as `burger lint` sees it; the executor's own parser has the last word."""

from __future__ import annotations

import pytest

from pipelines.definition.containers import Record
from pipelines.definition.kinds import KINDS
from pipelines.definition.parse import parse as read
from pipelines.performance.budgets import parse
from pipelines.performance.metrics import METRICS
from tests.definition.test_problems import STAGING, TEAMS, file

CANARY = """
- name: roll
  kind: rollout
  owner: dev
  environment: staging
  with:
    services: {web: {artifact: a, command: [serve]}}
    strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}, {verify: {budgets: %s}}]}}
"""


def problems(budgets: str) -> list[str]:
    found = read(file(CANARY % budgets, STAGING.replace("ops", "dev")), teams=TEAMS).problems
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    "budgets",
    ["{lcp: 2500ms, cls: 0.1, errors: 1%}", "{inp: {limit: 200ms, tolerance: 1.2}, orders: {tolerance: 0.8}}"],
)
def test_budgets_may_stand_in_a_canarys_step(budgets):
    assert problems(budgets) == []


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ("{lpc: 2s}", "lpc"),
        ("{lcp: 2500}", "2500"),
        ("{lcp: {limit: 2s, most: 1}}", "most"),
        ("{orders: 5%}", "5%"),
        ("{inp: {tolerance: many}}", "many"),
    ],
)
def test_a_wrong_budget_is_found_before_anything_runs(budgets, said):
    found = problems(budgets)
    assert len(found) == 1
    assert said in found[0]


def test_the_file_and_the_executor_know_the_same_metrics():
    record = KINDS["verify"].with_.keys["budgets"].shape
    assert isinstance(record, Record)
    assert set(record.keys) == set(METRICS)
    for name, metric in METRICS.items():
        assert parse({name: {"tolerance": 0.5 if name == "orders" else 2}} if metric.tolerance else {name: 0.1})
