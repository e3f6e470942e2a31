"""What a stage's `with` may say, as `burger lint` sees it; the executor's own parser has the last word."""

from __future__ import annotations

import pytest

from pipelines.definition.containers import Record
from pipelines.definition.kinds import KINDS
from pipelines.definition.parse import parse as read
from pipelines.definition.placeholders import resolve
from pipelines.executors.rollout.settings import parse_strategy
from pipelines.executors.verify.settings import Settings
from pipelines.performance.budgets import parse
from pipelines.performance.metrics import METRICS
from tests.definition.test_problems import STAGING, TEAMS, file
from tests.definition.test_schema import VALIDATOR
from tests.definition.test_schema import read as read_yaml

CANARY = """
- {name: a, kind: slug, owner: dev}
- name: roll
  kind: rollout
  owner: dev
  environment: staging
  needs: [a]
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


BEFORE = """\
- {name: source, kind: source, owner: dev}
- {name: build-backend, kind: slug, owner: dev, needs: [source]}
- {name: build-database, kind: slug, owner: dev, needs: [source]}
- {name: later, kind: slug, owner: dev, needs: [one]}
- {name: many, kind: slug, owner: dev, needs: [source], matrix: {py: [3.11, 3.12]}}
"""
NEEDS = "name: one, owner: dev, needs: [build-backend, build-database, many]"


def found(kind: str, with_: str) -> list[tuple[str, str]]:
    """Each problem's message and hint; the first has to point at the last line's text between the two bars."""
    start = with_.index("|") if "|" in with_ else None
    text = file(f"{BEFORE}- {{{NEEDS}, environment: staging, kind: {kind}, with: {with_.replace('|', '')}}}\n", STAGING)
    problems = read(text, teams=TEAMS).problems
    if start is not None:
        line = text.splitlines()[-1]
        assert (problems[0].line, problems[0].column) == (9, line.index("with: ") + 7 + start)
    return [(problem.message, problem.hint) for problem in problems]


SERVICES = "services: {web: {artifact: build-backend, command: [serve]%s}}"
ROLL = "{" + SERVICES % "" + ", strategy: %s}"
PATH = "expected a path such as /"
WRONG = {
    "artifact in": (
        "command", "{command: [x], in: |build-databse}", 'unknown artifact "build-databse"', "build-database",
    ),
    "workspace": ("command", "{command: [x], in: |workspce}", 'unknown artifact "workspce"', "workspace"),
    "artifacts": ("publish", "{artifacts: [|build-bakend]}", 'unknown artifact "build-bakend"', "build-backend"),
    "twice": (
        "publish", "{artifacts: [build-backend, |build-backend]}", '"build-backend" stands here twice', "",
    ),
    "later": (
        "publish", "{artifacts: [|later]}", '"one" takes what "later" makes, but does not come after it',
        "add later to its needs",
    ),
    "sort": (
        "publish", "{artifacts: [|source]}", '"source" makes a workspace, and here a slug or image is meant',
        "use one of: build-backend, build-database, many[3.11], many[3.12]",
    ),
    "matrix": (
        "publish", "{artifacts: [|many]}",
        '"many" has a matrix, and each of its combinations makes an artifact of its own', "many[3.11]",
    ),
    "service's artifact": (
        "rollout", "{services: {web: {artifact: |build-bakend, command: [x]}}}", 'unknown artifact "build-bakend"',
        "build-backend",
    ),
    "route": (
        "rollout", "{" + SERVICES % ", route: |shop" + "}",
        'expected a path prefix such as /, or assets, found "shop"', "/shop",
    ),
    "health": ("rollout", "{" + SERVICES % ", health: |nope" + "}", f'{PATH}, found "nope"', "/nope"),
    "health's key": (
        "rollout", "{" + SERVICES % ", health: {|pth: /}" + "}", 'unknown key of a health check "pth"', "path",
    ),
    "replicas": (
        "rollout", "{" + SERVICES % ", replicas: |0" + "}", "expected a whole number from 1 to 50, found 0", "",
    ),
    "variable": (
        "rollout", "{" + SERVICES % ", env: {|A-B: x}" + "}",
        'expected a variable\'s name of letters, digits and _, found "A-B"', "A_B",
    ),
    "errors": ("rollout", "{" + SERVICES % "" + ", errors: |wbe}", 'unknown service "wbe"', "web"),
    "pause": (
        "rollout", ROLL % "{canary: {steps: [{pause: {|durtion: 3x}}]}}", 'unknown key of a pause "durtion"',
        "duration",
    ),
    "pause's duration": (
        "rollout", ROLL % "{canary: {steps: [{pause: {duration: |3x}}]}}",
        '"3x" is not a duration such as 30s, 5m, 1h30m or 2d', "",
    ),
    "pause without a mapping": (
        "rollout", ROLL % "{canary: {steps: [{pause: |30s}]}}", 'expected a mapping of a pause, found "30s"', "",
    ),
    "two in a step": (
        "rollout", ROLL % "{canary: {steps: [|{setWeight: 5, pause: {}}]}}",
        "a step has exactly one of setWeight, pause, verify, found 2", "",
    ),
    "two strategies": (
        "rollout", ROLL % "|{rolling: {}, blueGreen: {}}",
        "a strategy has exactly one of rolling, canary, blueGreen, found 2", "",
    ),
    "weight before a switch": (
        "rollout", ROLL % "{blueGreen: {steps: [{|setWeight: 5}]}}",
        'unknown key of a step before the switch "setWeight"', "use one of: pause, verify",
    ),
    "surge": (
        "rollout", ROLL % "{rolling: {maxSurge: |abc}}",
        'expected a whole number, or a share such as 25%, found "abc"', "",
    ),
    "surge as text": (
        "rollout",
        ROLL % "{rolling: {maxSurge: |'25'}}",
        'expected a whole number, or a share such as 25%, found "25"',
        "25%",
    ),
    "rolling's key": (
        "rollout", ROLL % "{rolling: {|maxSurg: 1}}", 'unknown key of a rolling rollout "maxSurg"', "maxSurge",
    ),
    "dynamic": (
        "rollout", ROLL % "{canary: {dynamicStableScale: |yes}}", 'expected true or false, found "yes"', "true",
    ),
    "keep": ("rollout", ROLL % "{blueGreen: {keep: |5}}", '"5" is not a duration such as 30s, 5m, 1h30m or 2d', "5s"),
    "expect": (
        "verify", "{expect: {|x: a}}", 'expected a path such as /healthz, without spaces, found "x"', "/x",
    ),
    "expected": (
        "verify", "{expect: {/: |[1]}}", "expected text or a mapping of an expectation, found a list", "",
    ),
    "regex": (
        "verify", "{expect: {/: {regex: |(}}}", '"(" is no regular expression: missing ), unterminated subpattern', "",
    ),
    "path": (
        "verify", "{paths: [|healthz]}",
        'expected a path such as /healthz, without spaces, found "healthz"', "/healthz",
    ),
    "tolerance": (
        "verify", "{budgets: {inp: {tolerance: |0.5}}}", "expected a number from 1 to 100, found 0.5", "",
    ),
    "share": (
        "verify", "{budgets: {errors: |150%}}", 'expected a share such as 1% or 0.01, found "150%"', "",
    ),
    "compare": ("verify", "{compare: |[a]}", "expected a release, found a list", ""),
    "a budget that says nothing": (
        "verify", "{budgets: {lcp: |{}}}", "a budget has at least one of limit, tolerance, found 0", "",
    ),
    "build's argument": (
        "build", "{args: {|BUILDKIT_X: 1}}",
        'expected an argument\'s name, not with BUILDKIT_ before it, found "BUILDKIT_X"', "",
    ),
    "memory": ("build", "{limits: {memory: |2 GB}}", 'expected a size such as 512m or 2g, found "2 GB"', ""),
    "way out": (
        "build", "{dockerfile: |../Dockerfile}", 'expected a path inside the repository, found "../Dockerfile"', "",
    ),
    "slug's output": ("slug", "{output: |../..}", 'expected a path inside the repository, found "../.."', ""),
    "a variable twice": (
        "command", "{command: [x], env: {KEY: a}, secrets: {|KEY: b}}", '"KEY" stands in env too',
        "give it in one of them",
    ),
    "one route": (
        "rollout",
        "{services: {shop: {artifact: build-backend, command: [x], route: /}, web: {artifact: build-backend, "
        "command: [x], route: |/}}}",
        '"/" reaches "shop" already', "give it another",
    ),
    "from the root": (
        "command", "{command: [x], report: |/tmp/x}", 'expected a path inside the repository, found "/tmp/x"', "tmp/x",
    ),
    "registry": (
        "publish", "{artifacts: [build-backend], registry: |registry}", 'expected HOST or HOST:PORT, found "registry"',
        "",
    ),
    "playbook's variable": (
        "ansible", "{variables: {|burger_x: 1}}",
        'expected a variable\'s name, not with burger_ before it, found "burger_x"', "",
    ),
}  # fmt: skip
ONLY_PARSE = {
    "artifact in", "workspace", "artifacts", "later", "sort", "matrix", "service's artifact", "errors", "regex",
    "a variable twice", "one route",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_with_is_found_where_it_stands(name):
    kind, with_, message, hint = WRONG[name]
    assert found(kind, with_) == [(message, hint)]


@pytest.mark.parametrize("name", WRONG.keys() - ONLY_PARSE)
def test_the_published_schema_finds_it_too(name):
    kind, with_, *_ = WRONG[name]
    text = f"name: a\nstages:\n- {{{NEEDS}, environment: staging, kind: {kind}, with: {with_.replace('|', '')}}}\n"
    assert not VALIDATOR.is_valid(read_yaml(text))


RIGHT = [
    ("command", "{command: [x], in: workspace}"),
    ("command", "{command: [x], in: 'many[3.12]'}"),
    ("command", "{command: [x], in: '{{run.branch}}'}"),
    ("rollout", "{" + SERVICES % ", route: assets, health: {path: /up}" + "}"),
    ("rollout", ROLL % "{rolling: {maxSurge: 1, maxUnavailable: 25%}}"),
    ("rollout", ROLL % "{rolling: }"),
    (
        "rollout",
        ROLL % "{canary: {dynamicStableScale: true, steps: [{pause: }, {setWeight: 5}, {verify: {compare: true}}]}}",
    ),
    ("rollout", ROLL % "{blueGreen: {keep: 5m, steps: [{pause: {duration: 30s}}]}}"),
    (
        "build",
        "{dockerfile: a/..b/Dockerfile, context: ., registries: {'r.example:5000': {secrets: {username: a, "
        "password: b}}}, limits: {memory: 2g}, args: {A: 1}, cache_from: ['r.example:5000/a:main']}",
    ),
    ("publish", "{artifacts: [build-backend], registry: 'localhost:5000'}"),
    ("verify", "{expect: {/: Burger, /x: {regex: 'a+'}}, compare: shop-1}"),
]


@pytest.mark.parametrize(("kind", "with_"), RIGHT)
def test_what_is_right_is_right_for_the_schema_and_for_the_executor(kind, with_):
    assert found(kind, with_) == []
    text = f"name: a\nstages:\n- {{{NEEDS}, environment: staging, kind: {kind}, with: {with_}}}\n"
    parsed = read_yaml(text)
    assert VALIDATOR.is_valid(parsed)
    given = parsed["stages"][0]["with"]
    if kind == "rollout":
        parse_strategy(resolve(given.get("strategy"), {}, {"branch": "5s"}))
    elif kind == "verify":
        Settings.of(given)
