"""The page about Argo's own examples says what is drawn and converted today, and how each ran."""

from __future__ import annotations

import pytest

from tests.engines.argo import conformance, examples


@pytest.fixture(scope="module")
def sources():
    try:
        return examples.sources()
    except examples.NotHere as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def rows(sources):
    return conformance.rows_of(sources, conformance.known())


def test_the_page_is_what_the_command_writes(sources):
    said = conformance.page(sources, conformance.known())
    assert conformance.PAGE.read_text() == said, "run `python -m tests.engines.argo.conformance`"


def test_each_example_that_was_run_ended_the_same(rows):
    for row in rows:
        if row.run:
            assert row.refused + row.left == "", row.name
            assert row.run["same"], row.name
            assert row.run["phase"] in ("Succeeded", "Failed", "Error", "Refused")


def test_reasons_are_about_examples_that_are_there(sources):
    names = {source.name.removesuffix(".yaml") for source in sources}
    given = [name for some in examples.NOT_RUN.values() for name in some]
    assert set(given) <= names
    assert len(set(given)) == len(given)
