"""The content store: what stages make, each thing under the sha256 of its bytes.

`HOME/store/sha256/ab/HEX` holds one content, read-only and complete or not there at all. `HOME/slugs/HEX/`
is a tree unpacked from one, shared by all who only read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import secrets as random
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipelines.definition import globs

# Made by tools, different each time, and of no use to whoever unpacks the tree.
ALWAYS_EXCLUDED = ("**/__pycache__", "**/.git")

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_BLOCK = 1024 * 1024


class StoreError(Exception):
    """Says what was found, what was expected and what to do."""


class Store:
    """Safe to use from several processes at once: every write is a rename."""

    def __init__(self, home: Path) -> None:
        self.root = home / "store" / "sha256"
        self.slugs = home / "slugs"
        self.temporary = home / "store" / "tmp"

    def add(self, source: Path) -> tuple[str, int]:
        """Keep a copy of a file; returns its digest and its size in bytes. Adding it again does nothing."""
        with source.open("rb") as file, self._writer() as writer:
            shutil.copyfileobj(file, writer, _BLOCK)
        return writer.digest, writer.size

    def add_bytes(self, content: bytes) -> tuple[str, int]:
        """Keep `content`; returns its digest and its size."""
        with self._writer() as writer:
            writer.write(content)
        return writer.digest, writer.size

    def has(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def path(self, digest: str) -> Path:
        """The file with this content, to be read only. Raises StoreError when there is none."""
        place = self._place(digest)
        if not place.is_file():
            raise StoreError(f"The store has no {digest} (looked for {place}). Run the stage that makes it again.")
        return place

    def verify(self, digest: str) -> int:
        """Read the whole content again; returns its size. Raises StoreError unless it still has this
        digest."""
        place = self.path(digest)
        with place.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            raise StoreError(
                f"The content stored as {digest} has the digest {found}: the disk or a person changed it. "
                f"Remove {place} and run the stage that makes it again."
            )
        return place.stat().st_size

    def pack(self, tree: Path, *, include: Sequence[str] = ("**",), exclude: Sequence[str] = ()) -> tuple[str, int]:
        """Keep a folder as a tar archive that depends on names, contents and executable bits only.

        `include` and `exclude` are globs over paths relative to `tree`; `**` spans folders, and a pattern
        that names a folder means all of it. Returns digest and size. Raises StoreError for what cannot be
        packed: a link that leads out of the tree, a device, a socket, a pattern in `include` that matches
        nothing.
        """
        members = list(_members(tree, include, (*ALWAYS_EXCLUDED, *exclude)))
        with (
            self._writer() as writer,
            tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, path in members:
                _put(tar, tree, name, path)
        return writer.digest, writer.size

    def count(self, digest: str) -> int:
        """How many files and links a packed tree has."""
        with tarfile.open(self.path(digest), "r:") as tar:
            return sum(not member.isdir() for member in tar)

    def unpack(self, digest: str, to: Path) -> None:
        """Extract a packed tree as the new folder `to`; a folder that is there already is left as it is."""
        if to.exists():
            return
        source = self.path(digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        fresh = to.with_name(f".{to.name}.{random.token_hex(4)}")
        try:
            with tarfile.open(source, "r:") as tar:
                _extract(tar, fresh)
            _move(fresh, to)
        except tarfile.TarError as error:
            raise StoreError(f"{digest} cannot be unpacked: {error}. Was it made by another program?") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def unpacked(self, digest: str) -> Path:
        """The shared tree of a digest, its files read-only, unpacked when it is asked for the first time."""
        to = self.slugs / _hex(digest)
        with self._held():
            if to.exists():
                os.utime(to)
                return to
        fresh = self.slugs / f".{to.name}.{random.token_hex(4)}.tree"
        try:
            self.unpack(digest, fresh)
            for path in fresh.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.chmod(0o555 if path.stat().st_mode & stat.S_IXUSR else 0o444)
            _move(fresh, to)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return to

    def remove(self, digest: str, *, older_than: float) -> bool:
        """Remove a content unless somebody has added it since `older_than`, in seconds since 1970; False if so."""
        place = self._place(digest)
        with self._held(alone=True):
            if not place.exists() or place.stat().st_mtime >= older_than:
                return False
            place.unlink()
            return True

    def remove_unpacked(self, digest: str, *, older_than: float) -> bool:
        """The same for the shared tree of a digest, by the time at which somebody last asked for it."""
        to = self.slugs / _hex(digest)
        gone = self.slugs / f".{to.name}.{random.token_hex(4)}.gone"
        with self._held(alone=True):
            if not to.exists() or to.stat().st_mtime >= older_than:
                return False
            to.rename(gone)
        shutil.rmtree(gone)
        return True

    @contextlib.contextmanager
    def _held(self, *, alone: bool = False) -> Iterator[None]:
        """Between what adds and what removes: those who add hold it together, who removes holds it alone."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        with (self.temporary.parent / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def _place(self, digest: str) -> Path:
        name = _hex(digest)
        return self.root / name[:2] / name

    @contextlib.contextmanager
    def _writer(self) -> Iterator[_Writer]:
        """A file that becomes the content of its own digest at the end of the block, and nothing on an
        error."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        path = self.temporary / random.token_hex(8)
        try:
            with path.open("xb") as file:
                writer = _Writer(file)
                yield writer
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            place = self._place(writer.digest)
            with self._held():
                if place.exists():
                    os.utime(place)  # it is wanted again, so that it is not removed before anything names it
                else:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(place)
                    _sync(place.parent)
        finally:
            path.unlink(missing_ok=True)


class _Writer(io.RawIOBase):
    """Hashes what it passes on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _hex(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StoreError(f'A digest is "sha256:" and 64 hex digits, found {digest!r}.')
    return match[1]


def _move(fresh: Path, to: Path) -> None:
    try:
        fresh.rename(to)
    except OSError:
        if not to.is_dir():  # else somebody else was quicker, with the same content
            raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- packing ----------------------------------------------------------------------------------------------


def _covers(glob: str, name: str) -> bool:
    """Whether a glob means this file, or a folder that it is in. Brackets are letters like others: files have them."""
    plain = glob.removeprefix("./").strip("/").replace("[", "[[]")
    return globs.matches(name, plain) or globs.matches(name, f"{plain}/**")


def _members(tree: Path, include: Sequence[str], exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Files, links and empty folders below `tree`, by name."""
    unused = set(include)
    for name, path in sorted(_walk(tree, PurePosixPath(), exclude)):
        matching = {glob for glob in set(include) if _covers(glob, name)}
        unused -= matching
        if matching:
            yield name, path
    if unused - {"**"}:
        names = ", ".join(sorted(unused - {"**"}))
        raise StoreError(f"Nothing in the tree matches {names}. Check the spelling, or leave the pattern out.")


def _walk(folder: Path, prefix: PurePosixPath, unwanted: Sequence[str]) -> Iterator[tuple[str, Path]]:
    entries = list(os.scandir(folder))
    if not entries and prefix.parts:
        yield str(prefix), folder
    for entry in entries:
        name = str(prefix / entry.name)
        if any(_covers(glob, name) for glob in unwanted):
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, prefix / entry.name, unwanted)
        else:
            yield name, path


def _put(tar: tarfile.TarFile, tree: Path, name: str, path: Path) -> None:
    status = path.lstat()
    member = tarfile.TarInfo(name)  # its defaults: no owner, no names, time 0
    member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    if stat.S_ISREG(status.st_mode):
        member.size = status.st_size
        with path.open("rb") as file:
            tar.addfile(member, file)
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, check_link(tree, path)
        tar.addfile(member)
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    else:
        raise StoreError(f"{name} is a device, a socket or a pipe; exclude it, or do not leave it in the tree.")


def _extract(tar: tarfile.TarFile, to: Path) -> None:
    """Write what an archive holds below the new folder `to`: folders, files, and links that stay inside, nothing else.

    The library's own filter of that kind is missing from Pythons that servers still have (before 3.11.4).
    """
    to.mkdir()
    to = to.resolve()
    folders = {to}
    for member in tar:
        path = to / _inside(member.name)
        if path.parent not in folders:
            if path.parent.resolve() != path.parent:
                raise tarfile.TarError(f"{member.name!r} lies behind a link")
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        if member.isdir():
            path.mkdir(exist_ok=True)
        elif member.isreg():
            content = tar.extractfile(member)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)  # type: ignore[arg-type]
                os.fchmod(file.fileno(), 0o755 if member.mode & stat.S_IXUSR else 0o644)
        elif member.issym():
            path.symlink_to(member.linkname)
            try:
                check_link(to, path)
            except StoreError as error:
                raise tarfile.TarError(str(error)) from error
        else:
            raise tarfile.TarError(f"{member.name!r} is neither a folder, a file nor a symbolic link")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{name!r} leads out of the tree")
    return path


def check_link(tree: Path, link: Path) -> str:
    """Where a symbolic link points, if that is inside `tree` wherever the tree stands. Raises StoreError."""
    target = str(link.readlink())
    name = link.relative_to(tree)
    try:
        inside = (link.parent.resolve() / target).resolve().is_relative_to(tree.resolve())
    except RuntimeError:
        raise StoreError(f"The link {name} leads to itself. Remove it.") from None
    if target.startswith("/") or not inside:
        raise StoreError(f"The link {name} leads to {target}, out of the tree. Replace it by what it stands for.")
    return target
