"""What a file without problems becomes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.definition.bench import large_file
from pipelines.definition.kinds import Kind
from pipelines.definition.model import (
    EnvironmentDef,
    Freeze,
    Gate,
    GateTeam,
    Parameter,
    Problem,
    Retry,
    StageDef,
    Trigger,
)
from pipelines.definition.parse import parse
from pipelines.definition.report import MAX_PROBLEMS, Report, format_problems

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """\
name: shop
engine: local
description: All of it.
parameters:
  speed: fast
  level: 3
  where: {default: staging, choices: [staging, production], description: Which}
  who: {required: true}
environments:
  staging: {owner: ops, concurrency: newest}
  production:
    owner: ops
    freeze:
      - {reason: holidays, start: 2026-12-24T00:00:00+01:00, end: 2026-12-27T00:00:00+01:00}
      - {reason: weekend, cron: 0 18 * * 5, duration: 2d12h, timezone: Europe/Berlin}
on:
  branches: [main]
  paths: ["src/**"]
  tags: [v*]
  schedule: ["0 2 * * 1-5"]
stages:
  - {name: fetch, kind: source, owner: dev}
  - name: unit
    title: Unit tests on {{matrix.python}}
    kind: command
    owner: dev
    needs: [fetch]
    retry: {limit: 3, backoff: 2s, factor: 1.5, max: 1m, on: [failed, error]}
    timeout: 1h30m
    when: run.branch == 'main' || '{{matrix.python}}' == '3.11'
    matrix:
      python: [3.11, 3.12]
      db: [sqlite, postgres]
      exclude:
        - {python: 3.12, db: sqlite}
    with:
      command: [pytest, "--db={{matrix.db}}", "{{parameters.speed}}"]
  - name: deploy
    kind: rollout
    owner: ops
    depends: unit.Succeeded && (fetch||unit.AnySucceeded)
    environment: "{{parameters.where}}"
    gate: {teams: {ops: 2, platform: 1}, self_approval: true, reason_required: true, expires: 2d}
    with:
      services: {web: {artifact: "{{parameters.who}}", command: [serve], replicas: "{{parameters.level}}"}}
  - {name: check, kind: gate, owner: ops, needs: [deploy], gate: ops, retry: 2}
on_exit:
  - {name: tell, kind: source, owner: dev, depends: deploy.Failed}
"""


@pytest.fixture(scope="module")
def whole():
    result = parse(WHOLE, teams={"dev", "ops", "platform"})
    assert result.problems == ()
    return result.definition


def test_the_head_of_the_file(whole):
    assert (whole.name, whole.engine, whole.description) == ("shop", "local", "All of it.")
    assert whole.digest == "sha256:" + hashlib.sha256(WHOLE.encode()).hexdigest()
    assert whole.parameters == (
        Parameter("speed", "fast"),
        Parameter("level", "3"),
        Parameter("where", "staging", "Which", ("staging", "production")),
        Parameter("who", required=True),
    )
    assert whole.triggers == Trigger(("main",), ("src/**",), ("v*",), ("0 2 * * 1-5",))
    assert whole.environments == (
        EnvironmentDef("staging", "ops", "newest"),
        EnvironmentDef(
            "production",
            "ops",
            "queue",
            (
                Freeze("holidays", "2026-12-24T00:00:00+01:00", "2026-12-27T00:00:00+01:00"),
                Freeze("weekend", cron="0 18 * * 5", duration=216000.0, timezone="Europe/Berlin"),
            ),
        ),
    )


def test_a_matrix_stage_stands_there_once_for_each_combination(whole):
    names = ["unit[3.11,sqlite]", "unit[3.11,postgres]", "unit[3.12,postgres]"]
    assert [stage.name for stage in whole.stages if stage.group == "unit"] == names
    assert whole.stage("unit[3.12,postgres]") == StageDef(
        name="unit[3.12,postgres]",
        kind="command",
        owner="dev",
        group="unit",
        title="Unit tests on 3.12",
        depends="fetch",
        needs=("fetch",),
        when="run.branch == 'main' || '3.12' == '3.11'",
        retry=Retry(3, 2.0, 1.5, 60.0, frozenset({"failed", "error"})),
        timeout=5400.0,
        with_={"command": ["pytest", "--db=postgres", "{{parameters.speed}}"]},
        matrix={"python": "3.12", "db": "postgres"},
    )


def test_gates_expressions_and_exit_stages(whole):
    deploy, check, tell = whole.stage("deploy"), whole.stage("check"), whole.stage("tell")
    assert deploy.gate == Gate((GateTeam("ops", 2), GateTeam("platform", 1)), True, True, 172800.0)
    assert deploy.depends == "unit.Succeeded && (fetch || unit.AnySucceeded)"
    assert deploy.needs == ("unit", "fetch")
    assert deploy.environment == "{{parameters.where}}"
    assert (check.gate, check.retry) == (Gate((GateTeam("ops"),)), Retry(limit=2))
    assert (tell.on_exit, tell.depends, tell.needs) == (True, "deploy.Failed", ("deploy",))


def test_teams_are_unchecked_where_they_are_not_known():
    assert parse("name: a\nstages: [{name: b, kind: source, owner: anyone}]").definition is not None


def test_on_is_a_key_and_never_true_and_a_byte_order_mark_is_no_character():
    text = b"\xef\xbb\xbfname: a\non: {branches: [yes]}\nstages: [{name: on, kind: source, owner: no}]"
    definition = parse(text).definition
    assert definition.triggers.branches == ("yes",)
    assert (definition.stages[0].name, definition.stages[0].owner) == ("on", "no")


def test_a_kind_of_ones_own():
    text = "name: a\nstages: [{name: b, kind: dance, owner: dev}]"
    assert parse(text).problems[0].code == "unknown-kind"
    assert parse(text, kinds={"dance": Kind("Dances.")}).definition.stages[0].kind == "dance"


def test_a_template_and_its_inputs():
    definition = parse(
        "name: a\n"
        "parameters: {x: '1'}\n"
        "templates:\n"
        "  t:\n"
        "    inputs: {run: {required: true}, team: dev, word: hi}\n"
        "    kind: command\n"
        "    owner: '{{inputs.team}}'\n"
        "    timeout: 5m\n"
        "    with: {command: '{{inputs.run}}', env: {A: '{{inputs.word}}!', B: b}}\n"
        "stages:\n"
        "- {name: one, use: t, inputs: {run: [echo, '{{parameters.x}}']}}\n"
        "- {name: two, use: t, inputs: {run: [ls], team: ops}, timeout: 1m, with: {env: {C: c}}}\n"
    ).definition
    one, two = definition.stages
    assert one.with_ == {"command": ["echo", "{{parameters.x}}"], "env": {"A": "hi!", "B": "b"}}
    assert (one.owner, one.timeout, two.owner, two.timeout) == ("dev", 300.0, "ops", 60.0)
    assert two.with_ == {"command": ["ls"], "env": {"C": "c"}}


def test_the_projects_own_pipeline():
    result = parse((ROOT / "pipeline.yaml").read_bytes(), teams={"dev", "ops", "platform"})
    assert format_problems(result.problems, "pipeline.yaml", (ROOT / "pipeline.yaml").read_bytes()) == ""
    assert len(result.definition.stages) >= 12
    gates = [stage for stage in result.definition.stages if stage.gate]
    assert {team.team for stage in gates for team in stage.gate.teams} == {"ops", "platform"}


def test_ten_thousand_stages_in_one_mebibyte():
    text = large_file(10_000)
    assert len(text) < 1024 * 1024
    assert len(parse(text).definition.stages) == 10_000


def test_ten_thousand_mistakes_are_cut_off_and_still_get_names():
    problems = parse(large_file(10_000).replace("needs: [s", "needs: [z")).problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[500] == Problem(505, problems[500].column, problems[500].message, "s250", "unknown-stage")
    assert problems[-1].message.endswith("more problems follow")


def test_nearest_names_are_looked_for_only_where_they_are_told(monkeypatch):
    """Of 10,000 mistakes 1,000 are told, and the search for what was meant is what takes time."""
    words, search = [], Report._nearest
    monkeypatch.setattr(Report, "_nearest", lambda self, word, known: words.append(word) or search(self, word, known))
    parse(large_file(10_000).replace("needs: [s", "needs: [z"))
    assert 0 < len(words) <= MAX_PROBLEMS


def test_of_many_long_names_the_nearest_is_found_too():
    names = [f"{n}-{'abcdefghij' * 3}" for n in range(5000)]
    stages = "".join(f"- {{name: {name}, kind: noop, owner: dev}}\n" for name in names)
    text = f"name: a\nstages:\n{stages}- {{name: z, kind: noop, owner: dev, needs: [77-{'abcdefgjih' * 3}]}}\n"
    (problem,) = parse(text).problems
    assert problem.hint.startswith("77-")


def test_a_chain_and_a_ring_of_ten_thousand_stages_need_no_recursion():
    ring = large_file(9_000).replace("- {name: s0, kind: source,", "- {name: s0, kind: source, needs: [s8999],")
    problems = parse(ring).problems
    assert [problem.code for problem in problems] == ["cycle"]
    assert problems[0].message.startswith("these stages need each other: s0 -> s8999 -> s4499 -> ")


def test_format_problems_points_at_the_place():
    text = "name: a\nstages:\n- {name: b, kind: sorce, owner: dev}\n"
    assert format_problems(parse(text).problems, "p.yaml", text) == (
        'p.yaml:3:19: unknown kind "sorce" (did you mean "source"?)\n'
        "    - {name: b, kind: sorce, owner: dev}\n"
        "                      ^\n"
    )


def test_a_long_chain_of_expressions_and_many_open_braces_are_read_at_once():
    chain = "".join(
        f"- {{name: s{n}, kind: source, owner: dev, depends: s{n - 1}.Succeeded && !s{n // 2}.Failed}}\n"
        for n in range(1, 2000)
    )
    assert parse("name: a\nstages:\n- {name: s0, kind: source, owner: dev}\n" + chain).problems == ()
    shipped = "name: a\nenvironments: {e: {owner: dev}}\nstages: [{name: s, kind: ansible, environment: e, owner: dev, "
    braces = shipped + "with: {variables: {x: '" + "{{" * 300_000 + "'}}}]"
    assert [problem.code for problem in parse(braces).problems] == ["bad-placeholder"]


LEVELS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
BOMBS = {
    "aliases": ("a0: &a0 [x]\n" + LEVELS, "too-large"),
    "too large": ("# " + "x" * 1024 * 1024, "too-large"),
    "too many values": ("a: [" + "1," * 260_000 + "]", "too-large"),
    "inputs": (
        "name: a\ntemplates: {t: {inputs: {x: " + "y" * 20_000 + "}, kind: source, owner: dev, title: '"
        "" + "{{inputs.x}}" * 1000 + "'}}\nstages:\n- {name: b, use: t}\n",
        "matrix-explosion",
    ),
    "templates": (
        "name: a\nenvironments: {e: {owner: dev}}\ntemplates: {t: {kind: ansible, environment: e, owner: dev, with: "
        "{variables: {x: [" + "1," * 9000 + "]}}}}\nstages:\n"
        "" + "".join(f"- {{name: b{n}, use: t}}\n" for n in range(100)),
        "matrix-explosion",
    ),
    "matrices": (
        "name: a\nstages:\n"
        ""
        + "".join(f"- {{name: b{n}, kind: source, owner: d, matrix: {{x: {list(range(200))}}}}}\n" for n in range(51)),
        "matrix-explosion",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name):
    text, code = BOMBS[name]
    problems = parse(text).problems
    assert [problem.code for problem in problems] == [code]
