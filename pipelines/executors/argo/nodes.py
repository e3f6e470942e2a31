"""What a Workflow of Argo holds about its nodes, and what their phases are in our words. Pure."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
from collections.abc import Mapping
from typing import Any

from pipelines.states import Reason, State

MAX_NODES_BYTES = 64 * 1024 * 1024  # of compressed nodes, once they are not
_STOPPED = re.compile(r"shutdown with strategy|^Stopped with strategy", re.IGNORECASE)
_LOCKED = re.compile(r"^Waiting for .* lock\b")
_STATES = {
    "": State.PENDING,
    "Pending": State.QUEUED,
    "Running": State.RUNNING,
    "Succeeded": State.SUCCEEDED,
    "Skipped": State.SKIPPED,
    "Omitted": State.OMITTED,
    "Failed": State.FAILED,
    "Error": State.ERROR,
}
WORDS = {
    State.SKIPPED: "its condition was false",
    State.OMITTED: "what it depends on did not come true",
    State.FAILED: "it failed, and says no more",
    State.ERROR: "Argo could not run it, and says no more",
    State.CANCELED: "the Workflow was stopped",
}


class NodesElsewhereError(Exception):
    """The controller keeps the nodes of this Workflow in a database of its own; the message says what to do."""


def nodes_of(workflow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes by their id, compressed ones too; none before the controller has seen it. Raises
    NodesElsewhereError."""
    status = workflow.get("status") or {}
    if compressed := status.get("compressedNodes"):
        return _decompressed(compressed)
    if status.get("offloadNodeStatusVersion") and not status.get("nodes"):
        raise NodesElsewhereError(
            f"The controller keeps the nodes of the Workflow {name_of(workflow)} in its own database, which cannot be "
            "read here. Set nodeStatusOffLoad to false in its configuration, or watch smaller Workflows."
        )
    return dict(status.get("nodes") or {})


def _decompressed(text: str) -> dict[str, dict[str, Any]]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text))) as file:
            found = json.loads(file.read(MAX_NODES_BYTES))
    except (OSError, EOFError, ValueError, binascii.Error) as error:
        raise NodesElsewhereError(f"The compressed nodes of a Workflow cannot be read: {error}") from error
    return dict(found) if isinstance(found, dict) else {}


def state_of(node: Mapping[str, Any]) -> tuple[State, str, str]:
    """State, reason code and reason of one node as the controller shows it."""
    phase, message = node.get("phase") or "", " ".join(str(node.get("message") or "").split())
    state = _STATES.get(phase, State.UNKNOWN)
    if state is State.UNKNOWN:
        return state, "person", f"Argo says the phase {phase}, which is not known here"
    if _is_locked(node) or (state in (State.PENDING, State.QUEUED) and _LOCKED.match(message)):
        return State.WAITING, Reason.LOCK, message or "it waits for a lock of Argo"
    if node.get("type") == "Suspend" and state is State.RUNNING:
        return State.WAITING, Reason.APPROVAL, message or "it waits for somebody to resume it"
    if state in (State.FAILED, State.ERROR) and _STOPPED.search(message):
        state = State.CANCELED
    return state, "", message or WORDS.get(state, "")


def _is_locked(node: Mapping[str, Any]) -> bool:
    return bool((node.get("synchronizationStatus") or {}).get("waiting")) and node.get("phase") in ("", "Pending", None)


def name_of(workflow: Mapping[str, Any]) -> str:
    return str((workflow.get("metadata") or {}).get("name") or "")
