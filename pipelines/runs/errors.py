"""Why a change of a run was refused. Messages are whole sentences for the person or program that asked."""

from __future__ import annotations


class NotAllowed(Exception):
    """The policy says no."""


class Conflict(Exception):
    """What was asked no longer fits how things stand: already decided, another plan, another state."""


class StaleResult(Exception):
    """A worker reports about an attempt that has been taken from it."""
