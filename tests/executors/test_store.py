"""The content store: same tree, same digest; and nothing leaves its folder."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from pipelines.executors.store import Store, StoreError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "var")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def make_tree(root: Path) -> Path:
    for name in ("app/main.py", "app/static/a b.css", "run.sh", "tests/test_main.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n")
    (root / "run.sh").chmod(0o755)
    (root / "latest.py").symlink_to("app/main.py")
    return root


def names(store: Store, digest: str) -> list[str]:
    with tarfile.open(store.path(digest)) as tar:
        return tar.getnames()


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_keeps_a_file_under_its_sha256_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    digest, size = store.add(tmp_path / "file")
    assert digest == "sha256:" + hashlib.sha256(b"content").hexdigest()
    assert size == 7
    assert store.add(tmp_path / "file") == store.add_bytes(b"content") == (digest, size)
    assert store.path(digest).read_bytes() == b"content"
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o444
    assert list(store.temporary.iterdir()) == []


def test_a_missing_content_is_named(store: Store) -> None:
    digest = "sha256:" + "0" * 64
    assert not store.has(digest)
    with pytest.raises(StoreError, match=f"no {digest}.*Run the stage"):
        store.path(digest)


@pytest.mark.parametrize("digest", ["", "0" * 64, "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 64])
def test_what_is_no_digest_is_refused(store: Store, digest: str) -> None:
    with pytest.raises(StoreError, match="A digest is"):
        store.has(digest)


def test_verify_finds_changed_content(store: Store) -> None:
    digest, size = store.add_bytes(b"content")
    assert store.verify(digest) == size
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"c0ntent")
    with pytest.raises(StoreError, match="the disk or a person changed it"):
        store.verify(digest)


def test_a_failed_write_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        store.add(tmp_path)
    assert [path for path in store.root.parent.rglob("*") if path.is_file()] == []


def test_packing_depends_on_content_alone(store: Store, tmp_path: Path) -> None:
    first, second = make_tree(tmp_path / "first"), make_tree(tmp_path / "elsewhere" / "second")
    for number, path in enumerate(sorted(second.rglob("*"), reverse=True)):
        os.utime(path, (number, number), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    for ignored in ("app/__pycache__/main.cpython-311.pyc", ".git/HEAD"):
        (second / ignored).parent.mkdir()
        (second / ignored).write_text("different each time")
    assert store.pack(first) == store.pack(second)
    (second / "app/main.py").chmod(0o755)
    assert store.pack(first) != store.pack(second)


def test_a_packed_tree_has_no_owner_no_time_and_sorted_names(store: Store, tree: Path) -> None:
    digest, _ = store.pack(tree)
    with tarfile.open(store.path(digest)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert {member.name: member.mode for member in members if member.isfile()} == {
        "app/main.py": 0o644,
        "app/static/a b.css": 0o644,
        "run.sh": 0o755,
        "tests/test_main.py": 0o644,
    }


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["app"], [], ["app/main.py", "app/static/a b.css"]),
        (["**/*.py"], [], ["app/main.py", "latest.py", "tests/test_main.py"]),
        (["*.py"], [], ["latest.py"]),
        (["app/*"], ["app/static"], ["app/main.py"]),
        (["**"], ["**/*.py", "app/**"], ["run.sh"]),
        (["./run.sh", "tests/"], [], ["run.sh", "tests/test_main.py"]),
    ],
)
def test_globs_choose(store: Store, tree: Path, include: list[str], exclude: list[str], expected: list[str]) -> None:
    digest, _ = store.pack(tree, include=include, exclude=exclude)
    assert names(store, digest) == expected


def test_a_glob_of_many_stars_and_one_of_letters_that_others_mean_something_by(store: Store, tree: Path) -> None:
    """The first would be tried in more ways than there is time for."""
    (tree / ("a" * 200)).touch()
    (tree / "[id].py").touch()
    (tree / "i.py").touch()
    many = "*a" * 20 + "*b"
    with pytest.raises(StoreError, match="Nothing in the tree matches"):
        store.pack(tree, include=[many])
    digest, _ = store.pack(tree, include=["[id].py"], exclude=[many, f"**/{many}/**"])
    assert names(store, digest) == ["[id].py"]


def test_a_glob_that_matches_nothing_is_named(store: Store, tree: Path) -> None:
    with pytest.raises(StoreError, match=r"Nothing in the tree matches aap/\*\*"):
        store.pack(tree, include=["app/**", "aap/**"])


def test_an_empty_folder_is_kept(store: Store, tree: Path, tmp_path: Path) -> None:
    (tree / "media").mkdir()
    digest, _ = store.pack(tree)
    store.unpack(digest, tmp_path / "copy")
    assert (tmp_path / "copy" / "media").is_dir()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "app/../../outside", "app/up/outside"])
def test_a_link_out_of_the_tree_is_refused(store: Store, tree: Path, target: str) -> None:
    (tree / "app" / "up").symlink_to("../..") if "up" in target.split("/") else None
    (tree / "link").symlink_to(target)
    with pytest.raises(StoreError, match=r"The link (link|app/up) leads to"):
        store.pack(tree)


def test_a_link_to_itself_is_refused(store: Store, tree: Path) -> None:
    (tree / "link").symlink_to("link")
    with pytest.raises(StoreError, match="The link link leads"):
        store.pack(tree)


def test_a_socket_or_a_pipe_is_refused(store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(StoreError, match="pipe is a device, a socket or a pipe"):
        store.pack(tree)
    (tree / "pipe").unlink()
    monkeypatch.chdir(tree)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(StoreError, match="socket is a device"):
            store.pack(tree)


def test_hard_links_become_files_of_their_own(store: Store, tree: Path, tmp_path: Path) -> None:
    os.link(tree / "run.sh", tree / "same.sh")
    store.unpack(store.pack(tree)[0], tmp_path / "copy")
    assert (tmp_path / "copy/same.sh").stat().st_ino != (tmp_path / "copy/run.sh").stat().st_ino


def test_unpacking_gives_the_tree_back(store: Store, tree: Path, tmp_path: Path) -> None:
    digest, _ = store.pack(tree)
    store.unpack(digest, tmp_path / "copy")
    assert store.pack(tmp_path / "copy")[0] == digest
    assert (tmp_path / "copy" / "latest.py").readlink() == Path("app/main.py")
    (tmp_path / "copy" / "mine").touch()
    store.unpack(digest, tmp_path / "copy")
    assert (tmp_path / "copy" / "mine").exists()
    assert store.count(digest) == 5


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside"])
def test_a_foreign_archive_cannot_write_outside(store: Store, tmp_path: Path, name: str) -> None:
    digest, _ = store.add(archive(tmp_path / "bad.tar", (tarfile.TarInfo(name), b"x")))
    with pytest.raises(StoreError, match=r"cannot be unpacked.*leads out of the tree"):
        store.unpack(digest, tmp_path / "copy" / "tree")
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize("target", ["", "..", "."])
def test_a_foreign_archive_cannot_write_through_a_link(store: Store, tmp_path: Path, target: str) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, target or str(tmp_path)
    digest, _ = store.add(archive(tmp_path / "bad.tar", (link, b""), (tarfile.TarInfo("link/outside"), b"x")))
    with pytest.raises(StoreError, match="cannot be unpacked"):
        store.unpack(digest, tmp_path / "tree")
    assert not (tmp_path / "outside").exists()


def test_what_is_no_archive_is_an_error(store: Store, tmp_path: Path) -> None:
    digest, _ = store.add_bytes(b"no archive at all")
    with pytest.raises(StoreError, match="cannot be unpacked"):
        store.unpack(digest, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_many_at_once_share_one_read_only_tree(store: Store, tree: Path) -> None:
    digest, _ = store.pack(tree)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(store.unpacked(digest))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [store.slugs / digest.removeprefix("sha256:")] * 6
    assert [path.name for path in store.slugs.iterdir()] == [digest.removeprefix("sha256:")]
    assert stat.S_IMODE((found[0] / "run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE((found[0] / "app/main.py").stat().st_mode) == 0o444
