"""Whose approval a changed pipeline file needs."""

from __future__ import annotations

import pytest

from pipelines.definition.kinds import KINDS, SINGLE_SECRETS
from pipelines.definition.ownership import GuardedChange, first_changes, guarded_changes
from pipelines.definition.parse import parse

FILE = """\
name: shop
environments:
  production: {owner: ops, freeze: [{reason: weekend, cron: 0 18 * * 5, duration: 2d}]}
  staging: {owner: platform}
stages:
- {name: build, kind: source, owner: dev}
- {name: test, kind: command, owner: dev, needs: [build], with: {command: [pytest]}}
- {name: ship, kind: promote, owner: ops, needs: [test], gate: {teams: {ops: 2}}, environment: production}
- {name: keyed, kind: command, owner: ops, with: {command: [a], secrets: {KEY: key}}}
- {name: many, kind: source, owner: dev, matrix: {x: [1, 2]}}
on_exit:
- {name: tell, kind: source, owner: platform}
"""


def definition(text: str):
    result = parse(text)
    assert result.problems == ()
    return result.definition


def changes(*replacements: tuple[str, str], **more):
    text = FILE
    for before, after in replacements:
        assert before in text
        text = text.replace(before, after)
    return guarded_changes(definition(FILE), definition(text), **more)


AGAIN = "2 times, if error, after 0 s, then 2 times that, at most 3600 s"
SHIP = FILE.splitlines()[7] + "\n"
CASES = {
    "nothing": ([], []),
    "owner": (
        [("ship, kind: promote, owner: ops", "ship, kind: promote, owner: dev")],
        [("ship", "owner", "ops", "dev", "ops")],
    ),
    "gate dropped": ([(" gate: {teams: {ops: 2}},", "")], [("ship", "gate", "ops (2)", "", "ops")]),
    "quorum": ([("ops: 2", "ops: 1")], [("ship", "gate", "ops (2)", "ops (1)", "ops")]),
    "kind": (
        [("promote", "verify, with: {soak: 2s}")],
        [("ship", "kind", "promote", "verify", "ops"), ("ship", "with", "", 'soak: "2s"', "ops")],
    ),
    "with of what acts on an environment": (
        [("kind: promote", "kind: promote, with: {release: other}")],
        [("ship", "with", "", 'release: "other"', "ops")],
    ),
    "needs": ([("needs: [test]", "needs: [build]")], [("ship", "depends", "test", "build", "ops")]),
    "when": (
        [("needs: [test]", "needs: [test], when: run.tag")],
        [("ship", "when", "", "run.tag", "ops")],
    ),
    "environment left": (
        [("environment: production", "environment: staging")],
        [
            ("ship", "environment", "production", "staging", "ops"),
            ("ship", "environment", "production", "staging", "platform"),
        ],
    ),
    "removed": (
        [(SHIP, "")],
        [("ship", "stage", "promote of ops, in production, approved by ops (2)", "", "ops")],
    ),
    "exit stage removed": (
        [("on_exit:\n- {name: tell, kind: source, owner: platform}\n", "")],
        [("tell", "stage", "source of platform (on exit)", "", "platform")],
    ),
    "exit stage no longer": ([("on_exit:\n", "")], [("tell", "on_exit", "yes", "no", "platform")]),
    "environment's owner": (
        [("staging: {owner: platform}", "staging: {owner: dev}")],
        [("environment staging", "owner", "platform", "dev", "platform")],
    ),
    "freeze": (
        [(", freeze: [{reason: weekend, cron: 0 18 * * 5, duration: 2d}]", "")],
        [("environment production", "freeze", "weekend: 0 18 * * 5 (UTC) for 172800 s", "", "ops")],
    ),
    "concurrency": (
        [("owner: platform}\nstages", "owner: platform, concurrency: newest}\nstages")],
        [("environment staging", "concurrency", "queue", "newest", "platform")],
    ),
    "environment removed": (
        [("  staging: {owner: platform}\n", "")],
        [("environment staging", "environment", "owner platform", "", "platform")],
    ),
    "new stage": ([("on_exit:", "- {name: new, kind: source, owner: dev}\non_exit:")], []),
    "new stage in an environment": (
        [("on_exit:", "- {name: new, kind: promote, owner: dev, environment: production}\non_exit:")],
        [("new", "stage", "", "promote of dev, in production", "ops")],
    ),
    "new environment": (
        [
            (
                "stages:\n",
                "  qa: {owner: dev}\nstages:\n- {name: new, kind: promote, owner: dev, environment: qa}\n",
            )
        ],
        [],
    ),
    "new stage with another team's secrets": (
        [
            (
                "on_exit:",
                "- {name: new, kind: command, owner: ops, with: {command: [a], secrets: {K: key}}}\non_exit:",
            )
        ],
        [("new", "secrets", "", 'secrets key, by command of ops; command: ["a"]; secrets: {"K": "key"}', "ops")],
    ),
    "what a stage with secrets does": (
        [("command: [a]", "command: [b]")],
        [("keyed", "with", 'command: ["a"]', 'command: ["b"]', "ops")],
    ),
    "what a stage without secrets does": ([("pytest", "tox")], []),
    "another team's secrets for a stage that is given to it": (
        [
            (
                "test, kind: command, owner: dev, needs: [build], with: {command: [pytest]",
                "test, kind: command, owner: ops, needs: [build], with: {command: [pytest], secrets: {K: key}",
            )
        ],
        [
            ("test", "owner", "dev", "ops", "dev"),
            (
                "test",
                "secrets",
                "",
                'secrets key, by command of ops; command: ["pytest"]; secrets: {"K": "key"}',
                "ops",
            ),
            ("test", "with", "", 'secrets: {"K": "key"}', "dev"),
        ],
    ),
    "a token in another team's name": (
        [("on_exit:", "- {name: new, kind: source, owner: ops, with: {token: key}}\non_exit:")],
        [("new", "secrets", "", 'secrets key, by source of ops; token: "key"', "ops")],
    ),
    "a vault's password in another team's name": (
        [
            (
                "stages:\n",
                "  qa: {owner: dev}\nstages:\n- {name: new, kind: ansible, owner: platform, environment: qa,"
                " with: {vault_password: key}}\n",
            )
        ],
        [("new", "secrets", "", 'secrets key, by ansible of platform, in qa; vault_password: "key"', "platform")],
    ),
    "engine": (
        [("name: shop\n", "name: shop\nengine: argo\n")],
        [("pipeline", "engine", "local", "argo", team) for team in ("dev", "ops", "platform")],
    ),
    "retry": ([("{name: build,", "{name: build, retry: 3, timeout: 5m,")], []),
    "matrix": ([("x: [1, 2]", "x: [1]")], [("many", "matrix", "many[1], many[2]", "many[1]", "dev")]),
    "retry and timeout of what acts on an environment": (
        [("kind: promote", "kind: promote, timeout: 1s, retry: 2")],
        [
            ("ship", "retry", "never", AGAIN, "ops"),
            ("ship", "timeout", "", "1 s", "ops"),
        ],
    ),
    "order of the file": ([(SHIP, ""), ("stages:\n", "stages:\n" + SHIP)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_needs_the_present_owner(name):
    replacements, expected = CASES[name]
    assert changes(*replacements) == tuple(GuardedChange(*change) for change in expected)


def test_a_move_between_environments_of_one_owner_is_that_owners():
    text = """
name: demo
environments: {one: {owner: ops}, two: {owner: ops}}
stages: [{name: tune, kind: promote, owner: dev, environment: %s}]
"""
    was, moved = (parse(text % name).definition for name in ("one", "two"))
    assert [(c.field, c.before, c.after, c.team) for c in guarded_changes(was, moved)] == [
        ("environment", "one", "two", "dev"),
        ("environment", "one", "two", "ops"),
    ]


def test_every_key_that_names_a_secret_is_known_as_one():
    """Where one secret alone is named, by a key of its own; where there are several, they stand below `secrets`."""
    found = {name for kind in KINDS.values() for name, key in kind.with_.keys.items() if "secret" in str(key.shape)}
    assert found - {"secrets", "registries", "services"} == set(SINGLE_SECRETS)


def test_a_first_file_is_free_but_for_environments_that_others_own():
    new = definition(FILE)
    assert guarded_changes(None, new) == ()
    assert guarded_changes(None, new, {"production": "platform", "other": "dev"}) == (
        GuardedChange("environment production", "owner", "platform", "ops", "platform"),
        GuardedChange("ship", "stage", "", "promote of ops, in production, approved by ops (2)", "platform"),
    )


def test_a_parameter_in_what_is_done_to_an_environment_is_guarded():
    text = """
name: demo
parameters: {soak: {default: %s}}
environments: {staging: {owner: platform}}
stages:
  - {name: look, kind: verify, owner: platform, environment: staging, with: {soak: "{{parameters.soak}}"}}
"""
    was, short = (parse(text % soak).definition for soak in ("30s", "1ms"))
    assert [(c.stage, c.field, c.team) for c in guarded_changes(was, short)] == [("look", "parameter soak", "platform")]


def test_a_parameter_that_decides_where_asks_the_owners_of_all_places_that_it_may_be():
    text = """
name: demo
parameters: {where: {default: staging, choices: [%s]}}
environments: {staging: {owner: dev}, production: {owner: ops}}
stages:
  - {name: look, kind: verify, owner: dev, environment: "{{parameters.where}}", with: {soak: 2s}}
"""
    was, wider = (parse(text % choices).definition for choices in ("staging", "staging, production"))
    assert [(c.stage, c.field, c.team) for c in guarded_changes(was, wider)] == [
        ("look", "parameter where", "dev"),
        ("look", "parameter where", "ops"),
    ]


def test_what_a_stage_does_is_its_owners_unless_the_pipeline_is_too():
    """The keeper of a pipeline changes what its own stages do; what others brought along it does not touch."""
    tox = [("pytest", "tox")]
    assert changes(*tox, keeper="dev") == ()
    assert changes(*tox, keeper="ops") == (
        GuardedChange("test", "with", 'command: ["pytest"]', 'command: ["tox"]', "dev"),
    )


LENT = """
name: demo
environments: {production: {owner: ops}}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ask, kind: gate, owner: dev, needs: [build], gate: {teams: [platform, legal]}}
  - {name: tell, kind: noop, owner: dev, needs: [ask]}
  - {name: look, kind: verify, owner: dev, needs: [tell], environment: production, with: {soak: 2s}}
"""


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        # who decides at a gate loses it with the stage, by a condition, or where something comes past it
        (LENT.splitlines()[5], "", {"dev", "platform", "legal"}),
        ("kind: gate, owner: dev,", "kind: gate, owner: dev, when: run.tag,", {"dev", "platform", "legal"}),
        ("needs: [tell], env", "needs: [build], env", {"dev", "ops", "platform", "legal"}),
        ("needs: [ask]", 'depends: "ask || build"', {"dev", "platform", "legal"}),
        ("needs: [ask]", 'depends: "ask.Omitted || ask"', {"dev", "platform", "legal"}),
        # who only waits for more than before comes past nothing
        ("needs: [ask]", "needs: [ask, build]", {"dev"}),
        # what another team's stage does in an environment is for the environment's owner too
        (
            LENT.splitlines()[7],
            LENT.splitlines()[7].replace("verify", "promote").partition(", with")[0] + "}",
            {"dev", "ops"},
        ),
        ("soak: 2s", "soak: 1s", {"dev", "ops"}),
        (", with: {soak: 2s}", ", when: run.tag, with: {soak: 2s}", {"dev", "ops"}),
        (LENT.splitlines()[7], "", {"dev", "ops"}),
    ],
)
def test_who_lent_an_environment_or_decides_at_a_gate_is_asked_too(before, after, asked):
    assert LENT.count(before) == 1
    text = LENT.replace(before, after)
    if "name: ask" not in text:
        text = text.replace("needs: [ask]", "needs: [build]")
    found = guarded_changes(definition(LENT), definition(text), keeper="dev")
    assert {change.team for change in found} == asked


def test_nobody_writes_a_stage_in_another_teams_name():
    """On a cluster it would work with that team's account, with or without secrets."""
    new = ("on_exit:", "- {name: new, kind: command, owner: ops, with: {command: [a]}}\non_exit:")
    assert changes(new, keeper="ops") == ()
    assert changes(new, keeper="dev") == (GuardedChange("new", "stage", "", 'command of ops; command: ["a"]', "ops"),)
    given = ("test, kind: command, owner: dev", "test, kind: command, owner: platform")
    assert {(c.field, c.team) for c in changes(given, keeper="ops")} == {("owner", "dev"), ("owner", "platform")}


def test_an_environment_in_another_teams_name_asks_it_with_the_stages_that_are_for_it():
    more = [
        ("stages:\n", "  qa: {owner: ops}\nstages:\n"),
        ("on_exit:", "- {name: new, kind: promote, owner: dev, environment: qa}\non_exit:"),
    ]
    found = changes(*more, keeper="dev")
    assert {(change.stage, change.field, change.team) for change in found} == {
        ("environment qa", "owner", "ops"),
        ("new", "stage", "ops"),
    }
    assert {change.team for change in changes(*more, keeper="ops")} == {"dev"}


def test_who_is_asked_about_a_first_file_sees_what_it_is_given():
    assert first_changes(definition(FILE), {"ops", "stranger"}) == (
        GuardedChange("environment production", "owner", "", "ops", "ops"),
        GuardedChange("keyed", "stage", "", 'command of ops; command: ["a"]; secrets: {"KEY": "key"}', "ops"),
        GuardedChange("pipeline", "stages", "", "build, test, ship, keyed, many, tell", "stranger"),
        GuardedChange("ship", "stage", "", "promote of ops, in production, approved by ops (2)", "ops"),
    )


def test_a_parameter_that_decides_about_a_stage_is_guarded_like_it():
    text = """
name: demo
parameters: {review: {default: "%s", description: "%s"}}
stages:
  - {name: ask, kind: gate, owner: ops, gate: ops, when: "parameters.review == 'yes'"}
"""
    was, off, words = (parse(text % values).definition for values in (("yes", "a"), ("no", "a"), ("yes", "b")))
    found = guarded_changes(was, off)
    assert [(c.stage, c.field, c.before, c.after, c.team) for c in found] == [
        ("ask", "parameter review", "default 'yes'", "default 'no'", "ops")
    ]
    assert guarded_changes(was, words) == ()
