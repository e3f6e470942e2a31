from __future__ import annotations

import pytest

from pipelines.definition.expressions import (
    ExpressionError,
    compile_depends,
    evaluate,
    evaluate_when,
    parse_depends,
    parse_when,
)

ONE = {  # which results hold for one stage that ended like this
    "succeeded": {"", "Succeeded", "AnySucceeded"},
    "failed": {"Failed", "AllFailed"},
    "error": {"Errored"},
    "skipped": {"", "Skipped"},
    "omitted": {"Omitted"},
    "canceled": {"Canceled"},
    "rejected": {"Rejected"},
    "daemoned": {"", "Daemoned"},
}
RESULTS = sorted(set().union(*ONE.values()))


@pytest.mark.parametrize("state", ONE)
def test_what_one_stage_answers(state):
    true = {result for result in RESULTS if evaluate(parse_depends(f"a.{result}" if result else "a"), {"a": (state,)})}
    assert true == ONE[state]


@pytest.mark.parametrize(
    ("states", "true"),
    [
        (("succeeded", "succeeded"), {"", "Succeeded", "AnySucceeded"}),
        (("succeeded", "skipped"), {"", "Succeeded", "AnySucceeded"}),
        (("skipped", "skipped"), {"", "Skipped"}),
        (("succeeded", "failed"), {"Failed", "AnySucceeded"}),
        (("failed", "failed"), {"Failed", "AllFailed"}),
        (("failed", "error"), {"Failed", "Errored"}),
        (("succeeded", "canceled"), {"Canceled", "AnySucceeded"}),
    ],
)
def test_what_a_matrix_stage_answers(states, true):
    asked = {result: parse_depends(f"a.{result}" if result else "a") for result in RESULTS}
    assert {result for result, expression in asked.items() if evaluate(expression, {"a": states})} == true


@pytest.mark.parametrize(
    ("text", "normal", "names"),
    [
        ("a", "a", ("a",)),
        ("a&&b", "a && b", ("a", "b")),
        ("a || b && c", "a || (b && c)", ("a", "b", "c")),
        ("(a||b)&&!c.Failed", "(a || b) && !c.Failed", ("a", "b", "c")),
        ("!(a && b)", "!(a && b)", ("a", "b")),
        (
            "A.Succeeded && (B.Failed || C.Skipped) && A",
            "A.Succeeded && (B.Failed || C.Skipped) && A",
            ("A", "B", "C"),
        ),
        ("build-all_2", "build-all_2", ("build-all_2",)),
    ],
)
def test_depends_has_one_normal_spelling(text, normal, names):
    expression = parse_depends(text)
    assert (str(expression), expression.names) == (normal, names)
    assert str(parse_depends(normal)) == normal


@pytest.mark.parametrize(
    ("text", "results", "expected"),
    [
        ("", {}, True),
        ("a && b", {"a": ["succeeded"], "b": ["skipped"]}, True),
        ("a && b", {"a": ["succeeded"], "b": ["failed"]}, False),
        (
            "a.Succeeded && (b.Failed || c.Skipped)",
            {"a": ["succeeded"], "b": ["succeeded"], "c": ["skipped"]},
            True,
        ),
        ("!a", {"a": ["failed"]}, True),
        ("a || b && c", {"a": ["failed"], "b": ["succeeded"], "c": ["failed"]}, False),
    ],
)
def test_compiled_depends(text, results, expected):
    assert compile_depends(text)(results) is expected
    assert compile_depends(text) is compile_depends(text)


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("a &", 2, "'&' is not expected here", "use &&"),
        ("(a", 2, 'expected a closing ")", found the end', ""),
        ("a b", 2, 'expected &&, || or the end, found "b"', ""),
        ("a && ", 5, "expected the name of a stage, found the end", ""),
        ("a.succeeded", 2, 'a stage has no result "succeeded"', "Succeeded"),
        ("a.Failed.b", 8, "'.' is not expected here", ""),
        ("!" * 60 + "a", 50, "the expression is nested more than 50 deep", "split it over several stages"),
    ],
)
def test_what_is_wrong_with_depends(text, offset, message, hint):
    with pytest.raises(ExpressionError) as caught:
        parse_depends(text)
    assert (str(caught.value), caught.value.offset) == (message, offset)
    assert caught.value.hint == hint


CONTEXT = {
    "parameters": {"speed": "fast", "count": "3", "off": "false", "quote": "x' || 'y"},
    "run": {"branch": "release/1.2", "trigger": "push", "tag": "", "number": 7},
    "stages": {"test": "failed", "lint": {"state": "succeeded"}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run.branch == 'main'", False),
        ('run.branch != "main"', True),
        ("'release/' in run.branch", True),
        ("run.trigger in ['push', 'tag']", True),
        ("run.trigger in []", False),
        ("parameters.count == 3", True),
        ("parameters.count == 3.0", True),
        ("parameters.count in [1, 2]", False),
        ("run.number == 7", True),
        ("parameters.speed", True),
        ("parameters.off", False),
        ("parameters.off == false", True),
        ("parameters.missing", False),
        ("run.tag == ''", True),
        ("!run.tag && (true || false)", True),
        ("stages.test.state == 'failed'", True),
        ("stages.lint.state == 'succeeded'", True),
        ("stages.other.state == ''", True),
        ("'v{{ parameters.count }}' == 'v3'", True),
        ("{{parameters.count}} == 3", True),
        # A parameter is a value; what it holds never becomes part of the condition.
        ("'{{parameters.quote}}' == 'x'", False),
    ],
)
def test_when(text, expected):
    assert evaluate_when(parse_when(text), CONTEXT) is expected
    assert evaluate_when(text, CONTEXT) is expected


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("main == 'x'", 0),
        ("run.brnch", 0),
        ("run.branch.upper", 0),
        ("parameters.__class__.x", 0),
        ("run.branch = 'x'", 11),
        ("run.branch == 'x", 14),
        ("run.branch == ", 14),
        ("stages.a == 'x'", 0),
        ("run.branch in ['a' 'b']", 19),
        ("__import__('os')", 0),
        ("", 0),
    ],
)
def test_what_is_wrong_with_when(text, offset):
    with pytest.raises(ExpressionError) as caught:
        parse_when(text)
    assert caught.value.offset == offset
