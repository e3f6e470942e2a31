"""What goes wrong on the command line, and the exit status that tells of it."""

from __future__ import annotations

FAILED, USAGE, STOPPED, REFUSED, UNREACHABLE = 1, 2, 3, 4, 5


class CommandError(Exception):
    """Ends the command with a sentence and `status`."""

    status = USAGE


class NotAskedError(CommandError):
    """There is nothing to decide."""

    status = REFUSED


class ApiError(CommandError):
    """The portal said no."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = REFUSED if code in (401, 403, 409) else USAGE


class UnreachableError(CommandError):
    """The portal did not answer, or cannot right now."""

    status = UNREACHABLE
