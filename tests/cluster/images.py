"""Images without a registry to pull from: two of one program each, and a Debian and a Python from Debian's mirror."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

from tests.cluster.layout import Layout
from tests.cluster.processes import run

PAUSE = "burger.local/pause:1"
COREDNS = "burger.local/coredns:1"
ARGOEXEC = "burger.local/argoexec:1"
BASES = {"debian": "library/debian:bookworm", "python": "library/python:3.11"}
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
LEAN = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists",
    "var/log", "usr/share/lintian",
)  # fmt: skip
# What python:3.11-slim has, from Debian's packages: `python` and `pip` that install into the system.
PYTHON = """\
FROM burger.local/debian:bookworm
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1
RUN apt-get update \\
 && apt-get install -y --no-install-recommends python3 python3-venv python3-pip \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man \\
 && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \\
 && ln -s python3 /usr/bin/python
CMD ["python3"]
"""


def single(layout: Layout, program: str, tag: str, *, folder: str = "") -> Path:
    """An image of one static program, in its root unless `folder` says where ("usr/bin/"), as the archive that
    `ctr images import` and `docker load` take."""
    archive = layout.build / "images" / f"{program}.tar"
    source = layout.bin / program
    if archive.exists() and archive.stat().st_mtime >= source.stat().st_mtime:
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
        entry = tarfile.TarInfo(f"{folder}{program}")
        entry.mode, entry.size = 0o755, source.stat().st_size
        with source.open("rb") as handle:
            tar.addfile(entry, handle)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": machine(),
        "os": "linux",
        "config": {"Entrypoint": [f"/{folder}{program}"], "User": "65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    partial.rename(archive)
    return archive


def machine() -> str:
    """The architecture, as images and Debian call it."""
    return run(["dpkg", "--print-architecture"]).strip()


def debian(layout: Layout) -> Path:
    """A minimal Debian as a tar of its root, made once. It trusts what this machine trusts."""
    archive = layout.build / "images" / "debian.tar"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    root = layout.build / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    print("making a Debian base image", flush=True)
    run(
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, root, MIRROR],
        timeout=1800,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    for folder in LEAN:
        for entry in (root / folder).iterdir() if (root / folder).is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (root / "var/lib/apt/lists/partial").mkdir(parents=True, exist_ok=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    if trusted.exists():
        shutil.copy(trusted, root / "etc/ssl/certs/ca-certificates.crt")
    (root / "etc/apt/sources.list").write_text(_sources())
    partial = archive.with_suffix(".partial")
    run(["tar", "-C", root, "--numeric-owner", "--exclude=./dev/*", "-cf", partial, "."], timeout=300)
    partial.rename(archive)
    shutil.rmtree(root)
    return archive


def _sources() -> str:
    lines = [f"deb {MIRROR} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]
    return "\n".join([*lines, f"deb {MIRROR}-security {SUITE}-security main", ""])


def bases(layout: Layout, docker: list[str]) -> None:
    """Import and build the base images in the engine, and push them to the registry; `docker` is the command line
    with its socket, signed in."""
    print("making the base images", flush=True)
    local = {name: f"burger.local/{tag.removeprefix('library/')}" for name, tag in BASES.items()}
    command = 'CMD ["bash"]'
    run([*docker, "import", "--change", command, debian(layout), local["debian"]], timeout=600)
    run([*docker, "build", "--quiet", "--tag", local["python"], "-"], given=PYTHON, timeout=1800)
    for name, tag in BASES.items():
        run([*docker, "tag", local[name], f"{layout.registry}/{tag}"])
        run([*docker, "push", f"{layout.registry}/{tag}"], timeout=600)
