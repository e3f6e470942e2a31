"""Each kind of mistake, with its whole message, place and hint."""

from __future__ import annotations

import pytest

from pipelines.definition.model import Problem
from pipelines.definition.parse import parse

TEAMS = {"dev", "ops", "platform"}


def file(stages: str, head: str = "") -> str:
    """A file whose stages begin in line 3, or later by the lines of `head`."""
    return f"name: shop\n{head}stages:\n{stages}"


def source(rest: str, name: str = "a") -> str:
    return f"- {{name: {name}, kind: source, owner: dev, {rest}}}\n"


MANY = ["s", *(f"x{n}" for n in range(19))]
STAGING = "environments: {staging: {owner: ops}}\n"

CASES = {
    # The text itself.
    "empty": ("", (1, 1, "the file is empty", "a pipeline needs at least name and stages", "empty")),
    "not a mapping": (
        "- a",
        (1, 1, "expected a mapping of the pipeline file, found a list", "", "wrong-type"),
    ),
    "tag": (
        "name: !!python/object:os.system x",
        (
            1,
            7,
            'the tag "tag:yaml.org,2002:python/object:os.system" is not allowed',
            "write the value without a tag, text in quotes",
            "tag",
        ),
    ),
    "merge key": (
        "<<: {a: b}",
        (1, 1, "merge keys (<<) are not supported", "use templates to share settings", "yaml"),
    ),
    "two documents": (
        "name: a\n---\nname: b\n",
        (2, 1, "a second YAML document begins here", "keep one document in a file", "documents"),
    ),
    "more excluded than there can be": (
        "name: shop\nstages:\n- {name: a, kind: noop, owner: dev, matrix: {v: [1, 2], exclude: ["
        + "{v: 1}, " * 256
        + "{v: 2}]}}\n",
        (
            3,
            66,
            "257 combinations are excluded, at most 256 can be",
            "name what several have in common",
            "matrix-explosion",
        ),
    ),
    "a NUL by its escape": (
        'name: shop\nstages:\n- {name: a, kind: noop, owner: dev, title: "b\\0c"}\n',
        (3, 44, "the text holds the character U+0000", "remove it", "encoding"),
    ),
    "latin-1": (b"name: caf\xe9\n", (1, 10, "the byte 0xe9 is not UTF-8", "save it as UTF-8", "encoding")),
    "control": (
        "name: a\n# \x07\n",
        (2, 3, "the character U+0007 is not allowed in YAML", "remove it", "yaml"),
    ),
    "deep": (
        "a: " + "[" * 60,
        (1, 43, "values are nested more than 40 deep", "make the file flatter", "too-deep"),
    ),
    "self alias": ("a: &a [*a]", (1, 8, "the alias *a is inside its own anchor", "write it out", "yaml")),
    # Keys.
    "unknown key": (
        file(source("retries: 3")),
        (3, 39, 'unknown key of a stage "retries"', "retry", "unknown-key"),
    ),
    "unknown top key": (
        file(source("title: x"), "enviroments: {}\n"),
        (2, 1, 'unknown key of the pipeline file "enviroments"', "environments", "unknown-key"),
    ),
    "missing key": (
        file("- {name: a, kind: source}"),
        (
            3,
            3,
            'a stage needs the key "owner"',
            "Team that alone may retry, skip or change it; who approves it, its gate says.",
            "missing-key",
        ),
    ),
    "double key": (
        file("- name: a\n  kind: source\n  owner: dev\n  kind: gate\n"),
        (6, 3, 'the key "kind" stands here twice, first in line 4', "", "duplicate"),
    ),
    "no stages": (
        "name: shop\nstages: []\n",
        (2, 9, "expected at least 1 in this list, found 0", "", "bad-value"),
    ),
    # Names.
    "unknown team": (
        file("- {name: a, kind: source, owner: opps}"),
        (3, 34, 'unknown team "opps"', "ops", "unknown-team"),
    ),
    "unknown gate team": (
        file(source("gate: {teams: {platfrm: 1}}")),
        (3, 54, 'unknown team "platfrm"', "platform", "unknown-team"),
    ),
    "unknown kind": (
        file("- {name: a, kind: comand, owner: dev}"),
        (3, 19, 'unknown kind "comand"', "command", "unknown-kind"),
    ),
    "unknown stage": (
        file(source("title: x", "build") + source("needs: [biuld]", "b")),
        (4, 47, 'unknown stage "biuld"', "build", "unknown-stage"),
    ),
    "unknown stage in depends": (
        file(source("title: x", "build") + source('depends: "build && tset"', "test")),
        (4, 61, 'unknown stage "tset"', "test", "unknown-stage"),
    ),
    "unknown environment": (
        file("- {name: a, kind: verify, owner: dev, environment: stagin}", STAGING),
        (4, 52, 'unknown environment "stagin"', "staging", "unknown-environment"),
    ),
    "no environment": (
        file("- {name: a, kind: verify, owner: dev}"),
        (
            3,
            3,
            'a stage of the kind verify needs the key "environment"',
            "name one of the file's environments",
            "missing-key",
        ),
    ),
    "unknown template": (
        file("- {name: a, use: bild}", "templates: {build: {kind: source, owner: dev}}\n"),
        (4, 18, 'unknown template "bild"', "build", "unknown-template"),
    ),
    "unknown input": (
        file(
            "- {name: a, use: b, inputs: {pth: y}}",
            "templates: {b: {inputs: {path: x}, kind: source, owner: dev}}\n",
        ),
        (4, 30, 'unknown input of "b" "pth"', "path", "unknown-input"),
    ),
    "missing input": (
        file(
            "- {name: a, use: b}",
            "templates: {b: {inputs: {path: {required: true}}, kind: source, owner: dev}}\n",
        ),
        (4, 18, 'the template "b" needs the input "path"', "", "missing-input"),
    ),
    "unknown parameter": (
        file(source('title: "{{parameters.sped}}"'), "parameters: {speed: x}\n"),
        (4, 60, 'unknown parameter "sped"', "speed", "unknown-placeholder"),
    ),
    "unknown scope": (
        file(source('title: "{{parameter.speed}}"'), "parameters: {speed: x}\n"),
        (4, 47, 'unknown placeholder "{{parameter.speed}}"', "{{parameters.speed}}", "bad-placeholder"),
    ),
    "placeholder that does not end": (
        file(source('title: "{{run.branch and {{run.ref}}"')),
        (
            3,
            47,
            "the placeholder that begins here does not end",
            'end it with }}, or write {{"{{"}} for two plain braces',
            "bad-placeholder",
        ),
    ),
    "input outside a template": (
        file(source('title: "{{inputs.x}}"')),
        (3, 56, 'unknown input "x"', "the file has no input", "unknown-placeholder"),
    ),
    "bad name": (
        file(source("title: x", "my stage")),
        (3, 10, '"my stage" is not a name: letters, digits, "-" and "_", at most 63', "my-stage", "bad-name"),
    ),
    "duplicate stage": (
        file(source("title: x") + source("title: y")),
        (4, 3, 'the stage "a" is already there, in line 3', "", "duplicate"),
    ),
    "duplicate need": (
        file(source("title: x") + source("needs: [a, a]", "b")),
        (4, 50, '"a" stands here twice', "", "duplicate"),
    ),
    # Values.
    "bad duration": (
        file(source("timeout: 5 min")),
        (3, 48, '"5 min" is not a duration such as 30s, 5m, 1h30m or 2d', "5m", "bad-duration"),
    ),
    "duration without unit": (
        file(source("timeout: 30")),
        (3, 48, '"30" is not a duration such as 30s, 5m, 1h30m or 2d', "30s", "bad-duration"),
    ),
    "no time": (file(source("timeout: 0s")), (3, 48, '"0s" has to be more than 0', "", "bad-duration")),
    "bad cron": (
        file(source("title: x"), 'on: {schedule: ["61 * * * *"]}\n'),
        (2, 17, 'the cron expression "61 * * * *" is out of range', "", "bad-cron"),
    ),
    "cron that never happens": (
        file(source("title: x"), 'on: {schedule: ["0 0 31 2 *"]}\n'),
        (2, 17, 'the cron expression "0 0 31 2 *" never happens', "", "bad-cron"),
    ),
    "list expected": (
        file(source("title: x"), "on: {branches: main}\n"),
        (2, 16, 'expected a list, found "main"', "write [main]", "wrong-type"),
    ),
    "flag expected": (
        file(source("gate: {teams: [ops], self_approval: yes}")),
        (3, 75, 'expected true or false, found "yes"', "true", "wrong-type"),
    ),
    "no quorum": (
        file(source("gate: {teams: {ops: 0}}")),
        (3, 59, "expected a whole number from 1 to 100, found 0", "", "bad-value"),
    ),
    "too many retries": (
        file(source("retry: 21")),
        (3, 46, "expected a whole number from 0 to 20, found 21", "", "bad-value"),
    ),
    "retry on": (
        file(source("retry: {limit: 1, on: faild}")),
        (3, 61, 'expected failed or error, found "faild"', "failed", "bad-value"),
    ),
    "gate without gate": (
        file("- {name: a, kind: gate, owner: dev}"),
        (3, 3, 'a stage of the kind gate needs the key "gate"', "gate: TEAM", "missing-key"),
    ),
    "needs and depends": (
        file(source("title: x") + source("needs: [a], depends: a", "b")),
        (
            4,
            60,
            "a stage has either needs or depends, and here it has both",
            "write all of it in depends",
            "bad-value",
        ),
    ),
    "gate on exit": (
        file(source("title: x")) + "on_exit:\n" + source("gate: ops", "b"),
        (
            5,
            45,
            "a stage that runs on exit cannot have a gate: it has to run however the others ended",
            "drop the gate",
            "bad-value",
        ),
    ),
    "with": (
        file("- {name: a, kind: command, owner: dev, with: {comand: [x]}}"),
        (3, 47, 'unknown key of a command\'s with "comand"', "command", "unknown-key"),
    ),
    "freeze": (
        file(
            source("title: x"),
            'environments: {p: {owner: ops, freeze: [{reason: r, start: "2026-12-24T00:00:00Z"}]}}\n',
        ),
        (2, 41, "a freeze needs start and end, or cron and duration", "", "missing-key"),
    ),
    "time zone": (
        file(
            source("title: x"),
            'environments: {p: {owner: ops, freeze: [{reason: r, cron: "0 0 * * *", duration: 1h, '
            "timezone: Europe/Berln}]}}\n",
        ),
        (2, 96, 'unknown time zone "Europe/Berln"', "Europe/Berlin", "bad-timezone"),
    ),
    "choice": (
        file(source("title: x"), "parameters: {speed: {default: fastt, choices: [fast, slow]}}\n"),
        (2, 31, 'the default "fastt" is none of the choices', "fast", "bad-value"),
    ),
    "environment by a free parameter": (
        file(
            '- {name: a, kind: verify, owner: dev, environment: "{{parameters.where}}"}',
            "parameters: {where: staging}\n" + STAGING,
        ),
        (
            5,
            52,
            "the environment may depend only on parameters that have choices",
            "who owns it has to be known before the run",
            "bad-placeholder",
        ),
    ),
    "environment that can be anything": (
        file(
            '- {name: a, kind: verify, owner: dev, environment: "{{parameters.a}}{{parameters.b}}"}',
            f"parameters: {{a: {{default: s, choices: {MANY}}}, b: {{default: s, choices: {MANY}}}}}\n{STAGING}",
        ),
        (
            5,
            52,
            "the environment can become 400 names, at most 256 are allowed",
            "use fewer parameters, or fewer choices",
            "bad-placeholder",
        ),
    ),
    # Expressions.
    "depends result": (
        file(source("title: x") + source('depends: "a.Succeded"', "b")),
        (4, 51, 'a stage has no result "Succeded"', "Succeeded", "bad-expression"),
    ),
    "depends operator": (
        file(source("title: x") + source("depends: a & a", "b")),
        (4, 50, "'&' is not expected here", "use &&", "bad-expression"),
    ),
    "when name": (
        file(source("when: run.brnch == 'main'")),
        (3, 45, 'a run has no "brnch"', "run.branch", "bad-expression"),
    ),
    "when quote": (
        file(source('when: "run.branch == main"')),
        (3, 60, '"main" is not known in a condition', "write 'main' for a text", "bad-expression"),
    ),
    "when order": (
        file(source("title: x") + source("when: stages.a.state == 'failed'", "b")),
        (
            4,
            52,
            '"b" asks how "a" ended, but does not come after it',
            "add a to its needs",
            "unordered",
        ),
    ),
    # The graph.
    "cycle": (
        file(source("needs: [c]") + source("needs: [a]", "b") + source("needs: [b]", "c")),
        (3, 47, "these stages need each other: a -> c -> b -> a", "drop one of these needs", "cycle"),
    ),
    "itself": (
        file(source("needs: [a]")),
        (3, 47, "these stages need each other: a -> a", "drop one of these needs", "cycle"),
    ),
    "needs an exit stage": (
        file(source("needs: [bye]")) + "on_exit:\n" + source("title: x", "bye"),
        (
            3,
            47,
            '"a" can never run: it needs "bye", which runs on exit',
            "move one of them, or drop the need",
            "unreachable",
        ),
    ),
    "contradiction": (
        file(source("title: x") + source('depends: "a.Succeeded && a.Failed"', "b")),
        (4, 48, '"b" can never run: "a.Succeeded && a.Failed" is never true', "", "unreachable"),
    ),
    "never rejected": (
        file(source("title: x") + source('depends: "a.Rejected"', "b")),
        (
            4,
            48,
            '"b" can never run: "a.Rejected" is never true',
            "a.Rejected is never true: a has no gate",
            "unreachable",
        ),
    ),
    "contradiction over another stage": (
        file(source("title: x") + source("needs: [a]", "b") + source('depends: "a.Failed && b.Succeeded"', "c")),
        (5, 48, '"c" can never run: "a.Failed && b.Succeeded" is never true', "", "unreachable"),
    ),
    # Matrices.
    "explosion": (
        file(source(f"matrix: {{x: {list(range(17))}, y: {list(range(17))}}}")),
        (
            3,
            47,
            "the matrix has 17 x 17 = 289 combinations, at most 256 are allowed",
            "split the stage, or drop values",
            "matrix-explosion",
        ),
    ),
    "matrix value that no shell should see": (
        file(source("matrix: {x: [\"a';id;'\"]}")),
        (
            3,
            52,
            "the matrix value \"a';id;'\" cannot be part of a stage's name",
            "use letters, digits and - _ . : / @ + = ~ ^ %, at most 100",
            "bad-value",
        ),
    ),
    "matrix that makes long names": (
        file(source(f"matrix: {{x: [{'x' * 90}], y: [{'y' * 90}]}}")),
        (
            3,
            52,
            f'the matrix makes a stage of the name "a[{"x" * 57}…", which has 184 characters',
            "at most 120: shorten values",
            "bad-value",
        ),
    ),
    "cron where a list is meant": (
        file("- {name: a, kind: source, owner: dev}", "on:\n  schedule: 0 0 * * *\n"),
        (3, 13, 'expected a list, found "0 0 * * *"', 'write ["0 0 * * *"]', "wrong-type"),
    ),
    "freeze without an end": (
        file(
            source("title: x"),
            'environments: {p: {owner: ops, freeze: [{reason: r, cron: "0 0 * * *", duration: 2d}]}}\n',
        ),
        (2, 82, "this freeze lasts until it begins again: it never ends", "", "bad-value"),
    ),
    "matrix value": (
        file(source("matrix: {x: [1, 1]}")),
        (3, 55, 'the matrix value "1" stands here twice', "", "duplicate"),
    ),
    "exclude": (
        file(source("matrix: {py: [3, 4], exclude: [{pi: 3}]}")),
        (3, 71, 'unknown matrix name "pi"', "use one of: py", "unknown-key"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reports(name):
    text, expected = CASES[name]
    result = parse(text, teams=TEAMS)
    assert result.problems == (Problem(*expected),)
    assert result.definition is None


def test_reports_everything_at_once_in_the_order_of_the_file():
    text = (
        "name: shop\n"
        "engin: local\n"
        "environments: {staging: {owner: opps}}\n"
        "stages:\n"
        "- {name: a, kind: sorce, owner: dev, timeout: 3x}\n"
        "- {name: b, kind: source, owner: dev, needs: [c]}\n"
        "- {name: c, kind: source, owner: dev, needs: [b]}\n"
        '- {name: d, kind: source, owner: dev, depends: "a.Failed && a.Succeeded"}\n'
    )
    found = [(problem.line, problem.code) for problem in parse(text, teams=TEAMS).problems]
    assert found == [
        (2, "unknown-key"),
        (3, "unknown-team"),
        (5, "unknown-kind"),
        (5, "bad-duration"),
        (6, "cycle"),
        (8, "unreachable"),
    ]


def test_a_mistake_in_a_template_counts_once_however_often_it_is_used():
    text = file(
        "- {name: a, use: t}\n- {name: b, use: t}\n",
        "templates: {t: {kind: source, owner: dev, timeout: soon}}\n",
    )
    assert [problem.code for problem in parse(text).problems] == ["bad-duration"]


def test_what_is_no_yaml_says_so_at_its_place():
    (problem,) = parse("name: a\nstages: b: c\n").problems
    assert (problem.line, problem.column, problem.code) == (2, 10, "yaml")
    assert problem.message.startswith("this is not valid YAML: mapping values are not allowed")


def test_matrices_that_wait_for_matrices_are_limited():
    values = ", ".join(str(n) for n in range(256))
    text = f"name: a\nstages:\n- {{name: m0, kind: noop, owner: dev, matrix: {{x: [{values}]}}}}\n"
    text += "".join(
        f"- {{name: m{n}, kind: noop, owner: dev, needs: [m{n - 1}], matrix: {{x: [{values}]}}}}\n" for n in range(1, 4)
    )
    problems = parse(text).problems
    assert [(p.line, p.code, p.hint) for p in problems] == [
        (5, "matrix-explosion", "let a noop stage stand between two matrices")
    ]
