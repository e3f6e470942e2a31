"""Whatever a file holds, the answer is a definition, or problems with a place; never an exception."""

from __future__ import annotations

from collections.abc import Callable

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.definition.expressions import ExpressionError, parse_depends, parse_when
from pipelines.definition.parse import parse
from pipelines.definition.report import format_problems
from pipelines.definition.schema import ENVIRONMENT, FILE, FREEZE, GATE, PARAMETER, RETRY, STAGE, TRIGGERS
from tests.definition.test_parse import WHOLE

KEYS = sorted(
    {key for record in (FILE, STAGE, GATE, RETRY, FREEZE, ENVIRONMENT, PARAMETER, TRIGGERS) for key in record.keys}
    | {"exclude", "services", "command", "artifacts", "strategy", "<<"}
)
WORDS = st.sampled_from(
    [
        *[
            "a",
            "b",
            "dev",
            "staging",
            "30s",
            "5 m",
            "rollout",
            "gate",
            "command",
            "argo",
            "slug",
            "queue",
            "a.Failed",
        ],
        *[
            "a && b",
            "!(a",
            "0 2 * * *",
            "{{inputs.a}}",
            "{{parameters.b}}",
            "{{matrix.a}}",
            "{{",
            '{{"{{"}}',
            "",
        ],
        *["run.branch == 'x'", "stages.a.state", "2026-01-01T00:00:00Z", "Europe/Berlin", "on", "99999d"],
    ]
)
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.sampled_from("ab"), inner, max_size=6)
    ),
    max_leaves=25,
)
STAGES = st.lists(
    st.fixed_dictionaries({"name": WORDS}, optional=dict.fromkeys(sorted(STAGE.keys.keys() - {"name"}), VALUES)),
    max_size=5,
)
FILES = st.fixed_dictionaries(
    {"name": WORDS, "stages": STAGES},
    optional=dict.fromkeys(sorted(FILE.keys.keys() - {"name", "stages"}), VALUES),
)


def check(text: bytes | str) -> None:
    result = parse(text, teams={"dev"})
    assert (result.definition is None) == bool(result.problems)
    assert all(problem.line > 0 and problem.column > 0 and problem.message for problem in result.problems)
    assert all(problem.code for problem in result.problems)
    format_problems(result.problems, "pipeline.yaml", text)


@given(st.binary(max_size=200))
def test_any_bytes(data):
    check(data)


@given(st.text(max_size=200))
def test_any_text(text):
    check(text)


@settings(max_examples=200, deadline=None)
@given(FILES | VALUES)
def test_any_yaml(value):
    check(yaml.dump(value, allow_unicode=True))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 30), st.text(max_size=5))
def test_a_good_file_with_a_part_replaced(start, length, text):
    check(WHOLE[:start] + text + WHOLE[start + length :])


@given(st.text(alphabet="ab.FailedSucceeded&|!() '\"=[],in-{}", max_size=60) | st.text(max_size=40))
def test_any_expression(text):
    for parsed in (parse_depends, parse_when):
        assert 0 <= offset_of_error(parsed, text) <= len(text)


def offset_of_error(parsed: Callable[[str], object], text: str) -> int:
    try:
        parsed(text)
    except ExpressionError as error:
        return error.offset
    return 0
