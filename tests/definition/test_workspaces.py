"""What works in a workspace comes after a stage that fetches one."""

from __future__ import annotations

import pytest

from pipelines.definition.parse import parse

pytestmark = pytest.mark.workspaces

TEAMS = {"dev"}
SOURCE = "- {name: fetch, kind: source, owner: dev}\n"


def messages(stages: str, on_exit: str = "") -> list[str]:
    text = f"name: shop\nstages:\n{stages}" + (f"on_exit:\n{on_exit}" if on_exit else "")
    return [
        f"{problem.line}:{problem.column} {problem.message} ({problem.hint})"
        for problem in parse(text.encode(), teams=TEAMS).problems
    ]


def command(name: str, rest: str = "") -> str:
    return f"- {{name: {name}, kind: command, owner: dev, with: {{command: [x]}}{rest}}}\n"


def test_a_file_that_fetches_nothing():
    found = messages(command("a"))
    assert found == [
        '3:3 "a" works in a workspace, and no stage before it fetches one (let it need a stage of kind source)'
    ]


@pytest.mark.parametrize("kind", ["slug", "build", "command", "ansible", "argo"])
def test_every_kind_that_works_in_one(kind):
    given = {"command": "{command: [x]}", "argo": "{place: main, file: a.yaml}"}.get(kind, "{}")
    text = f"name: shop\nenvironments: {{e: {{owner: dev}}}}\nstages:\n{SOURCE}"
    stage = f"- {{name: a, kind: {kind}, owner: dev, with: {given}"
    stage += ", environment: e" if kind == "ansible" else ""
    (problem,) = parse(f"{text}{stage}}}\n".encode(), teams=TEAMS).problems
    assert (problem.code, problem.hint) == ("no-workspace", "add fetch to its needs")
    assert parse(f"{text}{stage}, needs: [fetch]}}\n".encode(), teams=TEAMS).problems == ()


def test_it_may_come_long_before_and_through_a_matrix():
    way = "".join(
        f"- {{name: n{n}, kind: noop, owner: dev, needs: [{f'n{n - 1}' if n else 'fetch'}], matrix: {{v: [a, b]}}}}\n"
        for n in range(5)
    )
    assert messages(SOURCE + way + command("a", ", needs: [n4], matrix: {v: [1, 2]}")) == []


def test_an_exit_stage_has_no_more_than_it_needs():
    (found,) = messages(SOURCE + command("a", ", needs: [fetch]"), command("tell"))
    assert found.endswith('"tell" works in a workspace, and no stage before it fetches one (add fetch to its needs)')
    assert messages(SOURCE, command("tell", ", needs: [fetch]")) == []


def test_what_another_stage_made_is_as_good():
    built = "- {name: pack, kind: slug, owner: dev, needs: [fetch]}\n"
    assert messages(SOURCE + built + command("a", ", needs: [pack]").replace("[x]", "[x], in: pack")) == []


def test_nothing_is_said_beside_what_is_wrong_anyhow():
    assert [problem[:20] for problem in messages("- {name: f, kind: sorce, owner: dev}\n" + command("a"))] == [
        '3:19 unknown kind "s'
    ]
