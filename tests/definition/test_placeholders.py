from __future__ import annotations

import pytest

from pipelines.definition.durations import DurationError, parse_duration
from pipelines.definition.model import StageDef
from pipelines.definition.placeholders import ResolveError, resolve, resolve_stage

RUN = {"commit": "abc", "ref": "refs/heads/main", "branch": "main", "number": 7}


def test_resolve_fills_texts_lists_and_mappings_and_leaves_the_rest():
    value = {"{{parameters.key}}": ["{{run.commit}}-{{ run.number }}", 3, None], "b": {"c": "{{run.branch}}"}}
    assert resolve(value, {"key": "k"}, RUN) == {"k": ["abc-7", 3, None], "b": {"c": "main"}}


def test_what_is_filled_in_is_not_looked_through_again():
    assert resolve("{{parameters.a}}", {"a": "{{parameters.b}}", "b": "secret"}, RUN) == "{{parameters.b}}"


def test_two_plain_braces():
    assert resolve('{{"{{"}}.Id}}', {}, RUN) == "{{.Id}}"


def test_a_placeholder_without_a_value_is_named():
    with pytest.raises(ResolveError, match=r"\{\{parameters\.a\}\} has no value in this run"):
        resolve("{{parameters.a}}", {}, RUN)


def test_a_stage_is_filled_in_except_for_its_condition():
    stage = StageDef(
        "a",
        "command",
        "dev",
        title="{{run.branch}}",
        when="'{{run.branch}}' == 'x'",
        with_={"in": "{{run.ref}}"},
    )
    filled = resolve_stage(stage, {}, RUN)
    assert (filled.title, filled.when, filled.with_) == ("main", stage.when, {"in": "refs/heads/main"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1m500ms", 60.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "1.5h", "30m1h", "1h1h", "-1s", "0s", "400d", " 1s", "1S", "٣s"])
def test_what_is_no_duration(text):
    with pytest.raises(DurationError):
        parse_duration(text)
