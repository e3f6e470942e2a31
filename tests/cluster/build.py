"""Build the cluster's programs from Go modules, once; the caches stay below the build folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.layout import ClusterError, Layout
from tests.cluster.processes import run

GO = Path(__file__).resolve().parent / "go"
LONGEST = 3600  # seconds for one program, from nothing, on a slow machine
# A command, and the Debian package that brings it.
NEEDED = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "htpasswd": "apache2-utils",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
}
CNI = Path("/usr/lib/cni")


@dataclass(frozen=True)
class Program:
    """A file in build/bin, and the package of a family's module that it is built from."""

    name: str
    family: str
    package: str


PROGRAMS = (
    *(
        Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}")
        for name in (
            "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
        )
    ),
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    Program("storage", "kubernetes", "./storage"),
    Program("coredns", "coredns", "github.com/coredns/coredns"),
    Program("pause", "pause", "."),
    *(
        Program(name, "argo", f"github.com/argoproj/argo-workflows/v3/cmd/{name}")
        for name in ("workflow-controller", "argoexec")
    ),
)  # fmt: skip
# What only some tests need, built when they ask for it.
OPTIONAL = (
    Program("docker-buildx", "buildx", "github.com/docker/buildx/cmd/buildx"),
    Program("docker-compose", "compose", "github.com/docker/compose/v2/cmd"),
    Program("vault", "vault", "."),
)
# What a module was published without, by family: our file, and the folder of the module that it belongs to.
ADDED = {
    "argo": ("signal_linux.go", "github.com/argoproj/argo-workflows/v3/workflow/executor/osspecific"),
}


def check_machine() -> None:
    """Raise with all that this machine lacks, and the command that brings it."""
    if os.geteuid() != 0:
        raise ClusterError("A cluster needs network namespaces, mounts and cgroups of its own: run this as root.")
    missing = sorted({package for command, package in NEEDED.items() if not shutil.which(command)})
    if not (CNI / "bridge").exists():
        missing.append("containernetworking-plugins")
    if missing:
        raise ClusterError(f"This machine lacks programs: apt-get install --no-install-recommends {' '.join(missing)}")


def go() -> str:
    """The Go command: the one that `make cluster` installs beside this Python, else the machine's own."""
    beside = Path(sys.executable).with_name("go")
    found = str(beside) if beside.exists() else shutil.which("go")
    if found is None:
        raise ClusterError("The cluster is built from source with Go, and none was found: run `make cluster`.")
    return found


def check_go() -> None:
    """Raise where there is no Go that builds the cluster; from 1.21 it fetches the version that go.mod asks for."""
    found = run([go(), "env", "GOVERSION"]).strip()
    number = re.match(r"go1\.(\d+)", found)
    if not number or int(number[1]) < 21:
        raise ClusterError(
            f"The cluster is built from source with Go 1.24 or later; found {found}. `make cluster` brings one."
        )


def version(family: str, module: str) -> str:
    """The version of a module that the family's go.mod names."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (GO / family / "go.mod").read_text(), re.M)
    if not found:
        raise ClusterError(f"{GO / family / 'go.mod'} names no version of {module}.")
    return found[1]


def environment(layout: Layout) -> dict[str, str]:
    caches = layout.build / "go"
    return {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",  # so that the cache can be removed like any folder
        "GOMODCACHE": str(caches / "mod"),
        "GOCACHE": str(caches / "cache"),
        "GOWORK": "off",
    }


def programs(layout: Layout, wanted: Iterable[Program] = PROGRAMS) -> None:
    """Build what is missing, or older than the family's go.mod; says what takes long."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    missing = [program for program in wanted if not is_built(layout, program)]
    for program in missing:
        check_go()
        print(f"building {program.name}", flush=True)
        _build(layout, program, layout.bin / program.name)
        _stamp(layout, program).write_text(_sum(program))
    if missing:  # Gigabytes of compiled packages, of no use until a version changes.
        shutil.rmtree(environment(layout)["GOCACHE"], ignore_errors=True)


def is_built(layout: Layout, program: Program) -> bool:
    stamp = _stamp(layout, program)
    return (layout.bin / program.name).exists() and stamp.exists() and stamp.read_text() == _sum(program)


def _stamp(layout: Layout, program: Program) -> Path:
    return layout.bin / f".{program.name}.sum"


def _sum(program: Program) -> str:
    """What a program is made from, as a digest."""
    digest = hashlib.sha256(program.package.encode())
    folder = GO / program.family
    sources = [folder / program.package] if program.package.startswith(".") else []
    added = [folder / ADDED[program.family][0]] if program.family in ADDED else []
    for path in sorted([folder / "go.mod", *added, *(file for source in sources for file in source.glob("*.go"))]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build(layout: Layout, program: Program, target: Path) -> None:
    flags = "-s -w"
    if program.package.startswith("k8s.io/kubernetes/"):
        kubernetes = version("kubernetes", "k8s.io/kubernetes")
        major, minor = kubernetes.removeprefix("v").split(".")[:2]
        stamped = {"gitVersion": kubernetes, "gitMajor": major, "gitMinor": minor}
        flags += "".join(f" -X k8s.io/component-base/version.{key}={value}" for key, value in stamped.items())
    if program.family == "argo":
        argo = version("argo", "github.com/argoproj/argo-workflows/v3")
        flags += f" -X github.com/argoproj/argo-workflows/v3.version={argo}"
    partial = target.with_name(f".{program.name}.partial")
    source, mode = _source(layout, program.family)
    command = ["nice", "-n", "5", go(), "-C", source, "build", mode, "-trimpath", "-ldflags", flags]
    run([*command, "-o", partial, program.package], timeout=LONGEST, env=environment(layout))
    partial.rename(target)


def _source(layout: Layout, family: str) -> tuple[Path, str]:
    """The folder that a family is built in, and where Go finds its modules: copied beside the caches where one of
    them lacks a file, since nothing may be added to the module cache."""
    if family not in ADDED:
        return GO / family, "-mod=readonly"
    folder = layout.build / "go" / family
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (GO / family).glob("go.*"):
        shutil.copy(path, folder)
    shutil.copy(GO / family / "tools.go", folder)
    run([go(), "-C", folder, "mod", "vendor"], timeout=LONGEST, env=environment(layout))
    file, place = ADDED[family]
    shutil.copy(GO / family / file, folder / "vendor" / place)
    return folder, "-mod=vendor"


def module(layout: Layout, family: str, name: str) -> Path:
    """The folder with the source of a module that the family requires, downloaded at first."""
    command = [go(), "-C", str(GO / family), "mod", "download", "-json", name]
    return Path(json.loads(run(command, timeout=600, env=environment(layout)))["Dir"])
