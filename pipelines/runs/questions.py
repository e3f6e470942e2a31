"""What a person is asked, as one digest: the plan of a gate, or why a stage paused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..models import Stage


def question(*, key: str, resumes: int, reason: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Why a stage paused. Its digest is named by the answer, so that an answer fits one pause alone."""
    text = json.dumps([key, resumes, reason, data], sort_keys=True, default=str)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return {"digest": digest, "reason": reason, "data": json.loads(json.dumps(data, default=str))}


def is_paused(stage: Stage) -> bool:
    return "question" in stage.progress


def asked_digest(stage: Stage) -> str:
    """The digest that an approval of this stage has to name now."""
    return stage.progress["question"]["digest"] if is_paused(stage) else stage.plan_digest


def asked_teams(stage: Stage) -> dict[str, int]:
    """The teams that are asked, with their quorums: the owner's for a pause, else the gate's."""
    gate = stage.definition.get("gate")
    if is_paused(stage) or not gate:
        return {stage.owner: 1}
    return {team["team"]: team["quorum"] for team in gate["teams"]}
