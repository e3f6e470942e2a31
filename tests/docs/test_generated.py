"""The generated pages are those that `make docs` would write now."""

from __future__ import annotations

import pytest

from pipelines.states import State
from teams.policy import Action

from . import authorization, states
from .generate import generated
from .pages import ROOT


@pytest.mark.parametrize("name", ["docs/authorization.md", "docs/architecture.md"])
def test_a_generated_page_is_fresh(name):
    assert (ROOT / name).read_text() == generated()[name], f"{name} is stale; write it anew with: make docs"


def test_every_action_and_state_is_explained():
    assert set(authorization.ACTIONS) == set(Action)
    assert set(states.MEANING) == set(State)
