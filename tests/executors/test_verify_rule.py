"""What samples are worth: the arithmetic of `verify`, without a network."""

from __future__ import annotations

import pytest

from pipelines.executors.base import PlanError
from pipelines.executors.verify.rule import Bounds, bounds, percentile
from pipelines.executors.verify.samples import Sample
from pipelines.executors.verify.settings import Settings


def answers(good=0, bad=0, *, ms=10.0, path="/", **more):
    return [Sample(path, ms, 200, **more)] * good + [Sample(path, ms, 500, problem="status 500", **more)] * bad


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # as R's binom.test gives them
        (0, 10, 0.0, 0.308498),
        (1, 10, 0.002529, 0.445016),
        (5, 10, 0.187086, 0.812914),
        (10, 10, 0.691503, 1.0),
        (2, 200, 0.001213, 0.035654),
        (0, 0, 0.0, 1.0),
    ],
)
def test_bounds_are_exact(hits, count, low, high):
    assert bounds(hits, count) == pytest.approx((low, high), abs=1e-6)


def test_more_confidence_gives_wider_bounds():
    narrow, wide = bounds(3, 50, 0.95), bounds(3, 50, 0.999)
    assert wide[0] < narrow[0] < 3 / 50 < narrow[1] < wide[1]


def test_percentiles_are_measured_values():
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("samples", "state", "words"),
    [
        (answers(100), "pass", "100 answers"),
        (answers(80, 20), "fail", "20 of 100 answers"),
        (answers(0, 30), "fail", "status 500"),
        (answers(19), "inconclusive", "19 samples are too few"),
        ([], "inconclusive", "0 samples"),
        (answers(29, 1), "inconclusive", "too few to say"),
        (answers(999, 1), "pass", "1 not good"),
        (answers(40, ms=900.0), "fail", "p95 is 900 ms"),
        (answers(38) + answers(2, ms=900.0), "pass", "40 answers"),
        (answers(36) + answers(4, ms=900.0), "inconclusive", "of too few answers to be sure"),
    ],
)
def test_the_rule_says_what_is_certain_and_no_more(samples, state, words):
    verdict = Bounds().judge(samples, Settings())
    assert verdict.state == state
    assert words in verdict.reason


def test_one_page_that_fails_is_not_hidden_by_many_that_do_not():
    samples = answers(980) + answers(0, 6, path="/menu")
    verdict = Bounds().judge(samples, Settings(paths=("/", "/menu")))
    assert (verdict.state, "on /menu" in verdict.reason) == ("fail", True)


def test_a_page_that_nobody_measured_is_not_passed():
    verdict = Bounds().judge(answers(100), Settings(paths=("/", "/menu")))
    assert (verdict.state, "/menu" in verdict.reason) == ("inconclusive", True)


def test_answers_of_another_release_measure_nothing():
    strayed = answers(100, asked="r2", served="r1", measured=False)
    verdict = Bounds().judge(strayed, Settings())
    assert verdict.state == "inconclusive"
    assert "100 more requests measured nothing" in verdict.reason


def test_a_release_is_worse_than_its_baseline_only_when_that_is_certain():
    settings = Settings(error_rate=0.5, baseline="r1")
    baseline = answers(100, asked="r1")
    assert Bounds().judge(baseline + answers(70, 30, asked="r2"), settings).state == "fail"
    assert Bounds().judge(baseline + answers(97, 3, asked="r2"), settings).state == "pass"


def test_the_numbers_show_why():
    found = Bounds().judge(answers(95, 5, served="r2"), Settings()).numbers
    assert found["total"]["count"] == 100
    assert found["total"]["error_rate"] == 0.05
    assert found["total"]["error_rate_bounds"] == pytest.approx([0.016432, 0.112835], abs=1e-6)
    assert found["problems"] == {"status 500": 5}
    assert found["releases"] == {"r2": 100}
    assert found["method"] == "Clopper-Pearson, 95.0%"


def test_settings_read_what_the_pipeline_file_says():
    settings = Settings.of(
        {"paths": ["/"], "soak": "1m", "interval": "500ms", "expect": {"/menu": {"regex": r"\d burgers"}}}
    )
    assert (settings.soak, settings.interval, settings.paths) == (60.0, 0.5, ("/", "/menu"))
    assert settings.expect["/menu"].search("3 burgers")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"paths": "/"}, "list of paths"),
        ({"paths": ["http://elsewhere/"]}, "is no path"),
        ({"soak": "soon"}, "soak"),
        ({"p95_ms": "fast"}, "has to be a number"),
        ({"error_rate": 2}, "from 0 to 1"),
        ({"expect": {"/": {"regex": "("}}}, "no regular expression"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(given, words):
    with pytest.raises(PlanError, match=words):
        Settings.of(given)
