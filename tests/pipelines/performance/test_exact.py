"""Bounds, against what can be counted out by hand or by brute force."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.executors.verify.rule import bounds
from pipelines.performance.exact import odds_ratio_bounds, quantile_bounds, quantile_ratio_bounds, share_bounds
from pipelines.performance.sketch import Sketch


@st.composite
def tables(draw):
    count, other = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return (draw(st.integers(0, count)), count), (draw(st.integers(0, other)), other)


def at_least(ours: tuple[int, int], theirs: tuple[int, int], odds: Fraction) -> Fraction:
    """Fisher's test by adding up whole numbers: the probability of at least so many hits of ours."""
    (hit, count), (other_hit, other) = ours, theirs
    hits = hit + other_hit
    terms = {
        k: math.comb(count, k) * math.comb(other, hits - k) * odds**k
        for k in range(max(0, hits - other), min(hits, count) + 1)
    }
    return sum((term for k, term in terms.items() if k >= hit), Fraction()) / sum(terms.values())


@settings(deadline=None)
@given(tables(), st.sampled_from([0.001, 0.025, 0.2]))
def test_the_lower_bound_of_an_odds_ratio_is_where_the_exact_test_says_so(table, tail):
    ours, theirs = table
    low, high = odds_ratio_bounds(ours, theirs, tail)
    assert low <= high
    if low > 0:
        # A root found by halves is exact to the last digits only.
        assert at_least(ours, theirs, Fraction(low) * Fraction(999, 1000)) < tail
        assert at_least(ours, theirs, Fraction(low) * Fraction(1001, 1000)) > tail


@settings(deadline=None)
@given(tables(), st.sampled_from([0.001, 0.025, 0.2]))
def test_bounds_the_other_way_round_are_their_inverse(table, tail):
    low, high = odds_ratio_bounds(*table, tail)
    other_low, other_high = odds_ratio_bounds(table[1], table[0], tail)
    assert other_low == pytest.approx(1 / high if high else math.inf, rel=1e-6)
    assert other_high == pytest.approx(1 / low if low else math.inf, rel=1e-6)


def test_the_lady_who_tasted_tea():
    """Fisher 1935: three of four right is no evidence (p = 17/70), all four are (p = 1/70)."""
    assert odds_ratio_bounds((4, 4), (0, 4), 1 / 70 + 1e-6)[0] > 1 > odds_ratio_bounds((4, 4), (0, 4), 1 / 70 - 1e-6)[0]
    assert odds_ratio_bounds((3, 4), (1, 4), 0.242)[0] < 1 < odds_ratio_bounds((3, 4), (1, 4), 0.244)[0]


def test_nothing_seen_bounds_nothing():
    assert odds_ratio_bounds((0, 0), (0, 0), 0.01) == (0, math.inf)
    assert odds_ratio_bounds((0, 500), (0, 500), 0.01) == (0, math.inf)
    assert share_bounds(0, 0, 0.01) == (0, 1)
    assert quantile_bounds(Sketch(), 0.75, 0.01) == (0, math.inf)
    assert quantile_ratio_bounds((0, math.inf), 1, (1, 1), 1) == (0, math.inf)


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_has_the_bounds_of_clopper_and_pearson(table):
    assert share_bounds(*table, 0.025) == pytest.approx(bounds(*table, 0.95), abs=1e-6)


def test_none_wrong_of_a_hundred_is_at_most_three_percent():
    """The rule of three, in its exact form."""
    assert share_bounds(0, 100, 0.05)[1] == pytest.approx(1 - 0.05 ** (1 / 100))


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks from tables of nonparametric intervals of the 75th percentile, 2.5 % on each side.
    [(20, 11, 19), (100, 66, 84)],
)
def test_a_quantile_lies_between_order_statistics(count, low, high):
    sketch = Sketch(float(2**n) if count < 64 else float(n * 10 + 500) for n in range(1, count + 1))
    found = quantile_bounds(sketch, 0.75, 0.025)
    assert found == (sketch.at_rank(low), sketch.at_rank(high))


def test_too_few_values_have_no_upper_bound():
    low, high = quantile_bounds(Sketch([100.0] * 5), 0.75, 0.025)
    assert high == math.inf
    assert 0 <= low <= 101


def test_bounds_hold_as_often_as_they_say():
    """Lognormal times whose p75 is known; 5 % may lie beyond either bound of a ratio that is 1."""
    rng, missed, rounds, tail = random.Random(7), 0, 400, 0.05
    for _ in range(rounds):
        pair = [Sketch(rng.lognormvariate(7, 0.7) for _ in range(200)) for _ in range(2)]
        values = [sketch.quantile(0.75) for sketch in pair]
        sides = [quantile_bounds(sketch, 0.75, tail) for sketch in pair]
        low, _ = quantile_ratio_bounds(sides[0], values[0], sides[1], values[1])
        missed += low > 1
    assert missed / rounds <= tail + 3 * math.sqrt(tail * (1 - tail) / rounds)


def test_millions_take_no_time():
    """What is negligible is left out of the sums."""
    low, high = odds_ratio_bounds((60_000, 2_000_000), (60_000, 2_000_000), 0.001)
    assert 0.97 < low < 1 < high < 1.03
    many = Sketch()
    many.add(100, 3_000_000)
    assert quantile_bounds(many, 0.75, 0.001) == (many.quantile(0.75), many.quantile(0.75))
