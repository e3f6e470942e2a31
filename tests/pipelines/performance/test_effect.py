"""What a release did, in words."""

from __future__ import annotations

import pytest

from pipelines.performance.effect import effects, sentence
from pipelines.performance.verdict import Reading
from tests.pipelines.performance.test_verdict import Counts, lcp, requests, sessions


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (lcp(1500, 800), lcp(1000, 800, 2), "With b, LCP ("),
        (lcp(1500, 800), lcp(1000, 800, 2), "is worse than with a."),
        (lcp(700, 800), lcp(1000, 800, 2), "is better than with a."),
        (lcp(1000, 3200), lcp(1000, 3200, 2), "b changed nothing that customers notice: LCP is as with a."),
        (lcp(1000, 20), lcp(3000, 800, 2), "Too little was measured"),
        (requests(60, 1000), requests(3, 1000), "errors (0.30% to 6.00%) are worse than with a."),
        (sessions(30, 1000), sessions(100, 1000), "orders a session (10.00% to 3.00%) are worse than with a."),
        (sessions(200, 1000), sessions(100, 1000), "orders a session (10.00% to 20.00%) are better than with a."),
        (requests(4, 1000), requests(3, 1000), "Too little was measured"),
        (Reading(), lcp(1000, 100), "Nothing was measured of b yet."),
    ],
)
def test_what_is_said(ours, theirs, said):
    assert said in sentence("b", "a", effects(ours, theirs))


def test_the_first_release_is_compared_with_nothing():
    assert "first release" in sentence("b", "", effects(lcp(1000, 200), None))


def test_what_is_as_before_is_said_beside_what_is_not():
    ours = Reading(lcp(2000, 3200).sketches, Counts(100_000, 300))
    theirs = Reading(lcp(1000, 3200, 2).sketches, Counts(100_000, 300))
    assert sentence("b", "a", effects(ours, theirs)).endswith("is worse than with a; errors are as before.")
