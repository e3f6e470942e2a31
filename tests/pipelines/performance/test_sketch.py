"""A sketch says of a million values what a sorted list of them would say, within one percent."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.performance.sketch import ACCURACY, LARGEST, SMALLEST, Sketch

values = st.one_of(st.just(0.0), st.floats(SMALLEST, LARGEST))
lists = st.lists(values, max_size=60)
shares = st.sampled_from([0, 0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 1])


def exact(numbers: list[float], share: float) -> float:
    return sorted(numbers)[max(0, math.ceil(round(share * len(numbers), 9)) - 1)]


@given(st.lists(values, min_size=1, max_size=60), shares)
def test_a_quantile_is_within_one_percent_of_the_exact_one(numbers, share):
    wanted, found = exact(numbers, share), Sketch(numbers).quantile(share)
    assert found == pytest.approx(wanted, rel=ACCURACY, abs=SMALLEST)


@given(lists, lists, lists)
def test_merged_in_any_order_they_are_one(first, second, third):
    whole = Sketch([*first, *second, *third])
    left = Sketch(first).merge(Sketch(second)).merge(Sketch(third))
    right = Sketch(third).merge(Sketch(second).merge(Sketch(first)))
    assert left == right == whole
    assert left.count == len(first) + len(second) + len(third)


@given(lists, lists)
def test_merging_leaves_the_other_as_it_was(first, second):
    other = Sketch(second)
    Sketch(first).merge(other)
    assert other == Sketch(second)


@given(lists)
def test_merged_with_itself_it_counts_twice(numbers):
    sketch = Sketch(numbers)
    assert sketch.merge(sketch) == Sketch([*numbers, *numbers])


@given(lists)
def test_it_is_the_same_after_being_stored(numbers):
    assert Sketch.from_bytes(Sketch(numbers).to_bytes()) == Sketch(numbers)


@given(st.binary(max_size=40))
def test_bytes_of_others_are_refused_or_read_and_nothing_else(data):
    try:
        sketch = Sketch.from_bytes(data)
    except ValueError:
        return
    assert [sketch.at_rank(rank) for rank in (1, sketch.count) if sketch.count] == [
        value for value in (sketch.quantile(0), sketch.quantile(1)) if value is not None
    ]


@given(st.lists(values, min_size=1, max_size=60), values)
def test_the_rank_of_a_value_counts_those_below_and_those_within_one_bucket(numbers, value):
    rank = Sketch(numbers).rank(value)
    assert sum(n <= value for n in numbers) <= rank <= sum(n <= value * 1.021 + SMALLEST for n in numbers)
    assert Sketch(numbers).cdf(value) == rank / len(numbers)


@given(st.lists(values, min_size=1, max_size=40))
def test_ranks_go_up_and_cover_all(numbers):
    sketch = Sketch(numbers)
    found = [sketch.at_rank(rank) for rank in range(1, len(numbers) + 1)]
    assert found == sorted(found)
    assert found == [value for value, count in sketch for _ in range(count)]


def test_many_at_once_are_as_many_one_by_one():
    at_once = Sketch()
    at_once.add(120.5, 1000)
    assert at_once == Sketch([120.5] * 1000)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, LARGEST * 1.1])
def test_what_is_no_measurement_is_refused(value):
    with pytest.raises(ValueError, match="Expected a value from 0"):
        Sketch().add(value)


def test_an_empty_one_says_nothing():
    sketch = Sketch()
    assert (sketch.count, sketch.quantile(0.75), sketch.cdf(1)) == (0, None, None)
    with pytest.raises(ValueError, match="Expected a rank"):
        sketch.at_rank(1)


def test_a_million_page_views_fit_in_a_kilobyte():
    rng = random.Random(1)
    sketch = Sketch()
    for _ in range(20_000):
        sketch.add(rng.lognormvariate(math.log(1800), 0.7), 50)
    assert sketch.count == 1_000_000
    assert len(sketch.to_bytes()) < 1024
