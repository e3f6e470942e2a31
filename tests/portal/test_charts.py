"""Charts as numbers: where points, bands, budgets and deployments come to stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.performance.dashboard import Line, Point
from pipelines.performance.metrics import METRICS
from portal.charts import chart

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STEP = timedelta(minutes=10)
LCP, ERRORS = METRICS["lcp"], METRICS["errors"]


def line(*values: float | None, name: str = "shop-1") -> Line:
    points = [Point(NOON + STEP * i, value, 10) for i, value in enumerate(values) if value is not None]
    return Line(name, points, None, 10)


def drawn(*lines: Line, metric=LCP, **more):
    return chart(metric, lines, since=NOON, until=NOON + STEP * 10, step=STEP, **more)


def test_points_stand_in_the_middle_of_their_step_and_a_gap_breaks_the_line():
    (found,) = drawn(line(1000, 2000, None, 1000)).lines
    assert found.path == "M50 66.67h0L150 33.33M350 66.67h0"


def test_a_line_of_nothing_is_drawn_as_nothing():
    found = drawn(line())
    assert (found.lines[0].path, found.rows, found.columns) == ("", [], [])


def test_bands_cover_what_is_seen_and_no_more():
    assert [(band.name, band.top, band.height) for band in drawn(line(2000, 2400)).bands] == [
        ("good", 16.67, 83.33),
        ("needs work", 0.0, 16.67),
    ]
    assert drawn(line(0.01), metric=ERRORS).bands == []


def test_a_budget_belongs_into_the_picture_unless_it_is_far_above():
    assert drawn(line(1500), limit=2500).limit is not None
    assert drawn(line(100), limit=2500).limit is None


def test_deployments_that_are_close_share_a_name():
    moments = [(NOON + STEP * 2, "#1"), (NOON + STEP * 2.5, "#2"), (NOON + STEP * 9.5, "#3"), (NOON - STEP, "#0")]
    assert [(mark.at, mark.word, mark.left) for mark in drawn(line(1), deploys=moments).marks] == [
        (20, "#1", False),
        (25, "", False),
        (95, "#3", True),
    ]


def test_the_table_has_the_newest_first_and_a_cell_for_each_line():
    found = drawn(line(1, 2), line(None, 3, name="shop-2"))
    assert [values for _, values in found.rows] == [[2, 3], [1, None]]
    assert found.columns[1].values == [("shop-1", 2), ("shop-2", 3)]


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=10), st.none() | st.floats(0.001, 1e7))
def test_everything_is_inside_the_picture(values, limit):
    found = drawn(line(*values), limit=limit)
    assert len(found.ticks) <= 5
    assert all(0 <= tick.at <= 100 for tick in found.ticks)
    assert sum(band.height for band in found.bands) == pytest.approx(100, abs=0.1)
    assert found.limit is None or 0 <= found.limit <= 100
    for part in found.lines[0].path.replace("h0", "").replace("L", "M").split("M")[1:]:
        x, y = map(float, part.split())
        assert 0 <= x <= 1000
        assert 0 <= y <= 100
