"""What clusters change of their machine beside their own: remembered by the first, undone by the last."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tests.cluster import layout

KERNEL = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Where the nodes' own folders are put over, and what the engine's programs use; what is inside first.
FOLDERS = (
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/run/containerd/s",
    "/run/containerd",
    "/run/docker/plugins",
    "/run/docker",
    "/run/netns",
)


def _remembered() -> Path:
    return layout.CLAIMS / "machine.json"


def remember() -> None:
    """Keep how the machine is before its first cluster changes it."""
    if not _remembered().exists():
        kernel = {key: (Path("/proc/sys") / key).read_text().strip() for key in KERNEL}
        absent = [folder for folder in FOLDERS if not Path(folder).exists()]
        _remembered().write_text(json.dumps({"kernel": kernel, "absent": absent}))


def restore() -> None:
    """Put the kernel's settings back, and remove the folders that were not there, as far as nobody else uses them."""
    if not _remembered().exists():
        return
    before = json.loads(_remembered().read_text())
    for key, value in before["kernel"].items():
        (Path("/proc/sys") / key).write_text(value)
    for folder in before["absent"]:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    _remembered().unlink()
