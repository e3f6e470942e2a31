"""What a build may read: one folder of the workspace, and a Dockerfile of the same workspace."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from pipelines.executors.base import PlanError

LARGEST_DOCKERFILE = 1024 * 1024


def dockerfile_of(archive: Path, dockerfile: str, context: str) -> str:
    """The text of the Dockerfile in a packed workspace. Raises PlanError where it, or the context, is not there or
    behind a link: what a link stands for is decided by whoever follows it."""
    members: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            members[str(PurePosixPath(member.name))] = member
        _refuse_links(members, dockerfile, "dockerfile")
        _refuse_links(members, context, "context")
        folder = "" if context == "." else f"{context}/"
        if folder and not any(name.startswith(folder) for name in members):
            raise PlanError(f"The context {context} is no folder of the commit. Check its spelling in `context`.")
        found = members.get(dockerfile)
        if found is None or not found.isreg():
            raise PlanError(f"The commit has no file {dockerfile}. Check its spelling in `dockerfile`.")
        if found.size > LARGEST_DOCKERFILE:
            raise PlanError(f"{dockerfile} has {found.size} bytes; a Dockerfile has at most {LARGEST_DOCKERFILE}.")
        content = tar.extractfile(found)
        return content.read().decode(errors="replace") if content else ""


def _refuse_links(members: dict[str, tarfile.TarInfo], path: str, name: str) -> None:
    pure = PurePosixPath(path)
    for part in (pure, *pure.parents):
        member = members.get(str(part))
        if member is not None and member.issym():
            raise PlanError(
                f"`{name}` leads through {part}, which is a link to {member.linkname}. Name the file or folder itself."
            )
