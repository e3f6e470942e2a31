"""What may be handed to git: the checks of the `source` executor, for those who take names from outside."""

from __future__ import annotations

from pipelines.executors.source import RefusedInputError, check_address, check_commit, check_ref

__all__ = ["RefusedInputError", "check_address", "check_commit", "check_ref"]
