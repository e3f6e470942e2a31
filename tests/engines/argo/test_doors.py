"""A door of a Workflow is opened once the portal says that its stage may go on, and not before."""

from __future__ import annotations

import pytest

from pipelines.engines.argo.mirror import _is_ready
from pipelines.models import Stage


@pytest.mark.parametrize(
    ("state", "code", "gated", "digest", "ready"),
    [
        ("queued", "", True, "sha256:1", True),
        ("queued", "retry", True, "sha256:1", True),
        ("queued", "", False, "", True),
        ("queued", "plan", True, "", False),
        ("queued", "engine", True, "", False),  # the plan was being made when the cluster went away
        ("queued", "retry", True, "", False),
        ("waiting", "approval", True, "sha256:1", False),
    ],
)
def test_a_gated_stage_is_ready_only_with_the_plan_that_was_approved(state, code, gated, digest, ready):
    assert _is_ready(Stage(state=state, reason_code=code, gated=gated, plan_digest=digest)) is ready
