"""Bounds that hold for any distribution, from counts alone: of a share, of a quantile, and of ratios of two of them.

`tail` is the probability that the truth lies below a lower bound, and as much again above an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from pipelines.performance.sketch import Sketch

Interval = tuple[float, float]
# Terms this many times smaller than the largest, or more, are left out of sums.
_NEGLIGIBLE = 1e-17
_STEPS = 40


def share_bounds(hits: int, count: int, tail: float) -> Interval:
    """Clopper and Pearson's interval of a share of which `hits` in `count` were seen; (0, 1) without any."""
    if not count:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else _root(lambda share: _binomial(count, share, hits, count), tail, (0.0, hits / count))
    high = 1.0 if hits == count else _root(lambda share: -_binomial(count, share, 0, hits), -tail, (hits / count, 1.0))
    return low, high


def quantile_bounds(sketch: Sketch, share: float, tail: float) -> Interval:
    """Order statistics between which the quantile of all that could have been measured lies: how many values are below
    it is binomial. (0, inf) for a side that so few values cannot bound."""
    count = sketch.count
    low, high = 0, count + 1
    below = 0.0
    for hits, chance in _terms(count, share):
        below += chance
        if below <= tail:
            low = hits + 1
        if 1 - below <= tail:
            high = hits + 1
            break
    lowest = sketch.at_rank(low) if 1 <= low <= count else 0.0
    return lowest, sketch.at_rank(high) if high <= count else math.inf


def quantile_ratio_bounds(ours: Interval, our: float, theirs: Interval, their: float) -> Interval:
    """Bounds of our / their, two independent quantiles within bounds of their own: Zou and Donner's way of combining
    them (MOVER), on logarithms. (0, inf) where a bound or a value is missing."""
    if not (ours[0] > 0 and theirs[0] > 0 and ours[1] < math.inf and theirs[1] < math.inf):
        return 0.0, math.inf
    ratio = math.log(our / their)
    down = math.hypot(math.log(our / ours[0]), math.log(theirs[1] / their))
    up = math.hypot(math.log(ours[1] / our), math.log(their / theirs[0]))
    return math.exp(ratio - down), math.exp(ratio + up)


def odds_ratio_bounds(ours: tuple[int, int], theirs: tuple[int, int], tail: float) -> Interval:
    """Bounds of the odds ratio of two shares, each as (hits, count), by Fisher's exact test and its inversion: that the
    lower bound is above X is what the one-sided test of "at most X" at the level `tail` says."""
    (hit, count), (other_hit, other_count) = ours, theirs
    all_hits = hit + other_hit
    least, most = max(0, all_hits - other_count), min(all_hits, count)

    def at_least(log_odds: float) -> float:
        return sum(chance for hits, chance in _drawn(count, other_count, all_hits, log_odds) if hits >= hit)

    def at_most(log_odds: float) -> float:
        return -sum(chance for hits, chance in _drawn(count, other_count, all_hits, log_odds) if hits <= hit)

    low = 0.0 if hit == least else math.exp(_root(at_least, tail, (-30.0, 30.0)))
    high = math.inf if hit == most else math.exp(_root(at_most, -tail, (-30.0, 30.0)))
    return low, high


def _root(rising: Callable[[float], float], wanted: float, between: Interval) -> float:
    low, high = between
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _binomial(count: int, share: float, least: int, most: int) -> float:
    """The probability of `least` to `most` hits in `count`."""
    return sum(chance for hits, chance in _terms(count, share) if least <= hits <= most)


def _terms(count: int, share: float) -> Iterator[tuple[int, float]]:
    """(hits, probability) of a binomial distribution, rising, without what is negligible."""
    if not 0 < share < 1:
        yield (0 if share <= 0 else count), 1.0
        return
    odds = math.log(share) - math.log1p(-share)
    yield from _around(min(count, int((count + 1) * share)), 0, count, lambda k: (count - k) / (k + 1), odds)


def _drawn(count: int, other: int, hits: int, log_odds: float) -> Iterator[tuple[int, float]]:
    """(how many of all `hits` are among the first `count`, probability): Fisher's noncentral hypergeometric."""
    least, most = max(0, hits - other), min(hits, count)

    def step(k: int) -> float:
        return (count - k) * (hits - k) / ((k + 1) * (other - hits + k + 1))

    low, high = least, most
    while low < high:  # the mode: up to it, each term is larger than the one before
        middle = (low + high) // 2
        low, high = (middle + 1, high) if math.log(step(middle)) + log_odds > 0 else (low, middle)
    yield from _around(low, least, most, step, log_odds)


def _around(
    mode: int, least: int, most: int, step: Callable[[int], float], log_odds: float
) -> Iterator[tuple[int, float]]:
    """Normalized terms about the mode; `step(k)` times the odds is term k + 1 by term k."""
    odds = math.exp(log_odds)
    down, up = [], [(mode, 1.0)]
    term, place = 1.0, mode
    while place > least and term > _NEGLIGIBLE:
        place -= 1
        term /= step(place) * odds
        down.append((place, term))
    term, place = 1.0, mode
    while place < most and term > _NEGLIGIBLE:
        term *= step(place) * odds
        place += 1
        up.append((place, term))
    terms = down[::-1] + up
    whole = math.fsum(term for _, term in terms)
    return ((place, term / whole) for place, term in terms)
