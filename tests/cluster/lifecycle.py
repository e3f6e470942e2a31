"""Bring a cluster up, see whether it is, take it down. One at a time for each folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import (
    addons,
    argo,
    build,
    cgroups,
    clean,
    control_plane,
    images,
    machine,
    manifests,
    network,
    node,
    pki,
    services,
)
from tests.cluster.layout import Layout, abandoned, build_of, claim, claimed, home_of
from tests.cluster.processes import recorded

# Seconds for which a cluster whose processes all live may be too busy to answer.
BUSY_FOR = 120.0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_up(layout: Layout, patience: float = BUSY_FOR) -> bool:
    """Whether all recorded processes live and the API server is ready. While they live, a busy machine has `patience`
    seconds for the answer: who takes a slow cluster for a dead one takes it away from those who use it."""
    deadline = time.monotonic() + patience
    while layout.facts.exists() and (processes := recorded(layout.home)) and None not in processes.values():
        with contextlib.suppress(OSError):
            if control_plane.ready(layout):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return False


def up(*, say: Callable[[str], None] = print) -> Layout:
    """The cluster of this checkout: found running, or built and started over whatever is left of an earlier one."""
    home = home_of()
    build.check_machine()
    with _locked(home):
        layout = claim(home)
        if is_up(layout):
            if not argo.is_up(layout):
                with _locked(layout.build):
                    build.programs(layout)
                argo.start_controller(layout)
            return layout
        for one in (layout, *abandoned()):
            clean.down(one)
        layout = claim(home)
        started = time.monotonic()
        with _locked(layout.build):
            build.programs(layout)
        say(f"built after {time.monotonic() - started:.0f} s; starting {layout.name}")
        _start(layout)
        say(f"up after {time.monotonic() - started:.0f} s")
        return layout


def optional(name: str) -> Path:
    """The path of a program that only some tests need, built where it is missing; with somebody else's cluster, too."""
    home = home_of()
    layout = claimed(home) or Layout(home, build_of(home), 0)
    program = next(one for one in build.OPTIONAL if one.name == name)
    if not build.is_built(layout, program):
        with _locked(layout.build):
            build.programs(layout, [program])
    return layout.bin / name


def _start(layout: Layout) -> None:
    machine.remember()
    cgroups.make(f"{layout.name}/host")
    cgroups.make(f"{layout.name}/docker")
    layout.run.mkdir(parents=True, exist_ok=True)
    control_plane.certificates(layout)
    network.up(layout)
    control_plane.start_etcd(layout)
    services.start_registry(layout)
    services.start_engine(layout)
    control_plane.start_apiserver(layout)
    for each in layout.nodes:
        node.prepare(layout, each)
        node.start_machine(layout, each)
        node.start_runtime(layout, each)
    control_plane.wait_apiserver(layout)
    control_plane.start_controllers(layout)
    for each in layout.nodes:
        node.start_kubelet(layout, each)
        node.start_proxy(layout, each)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(step, layout) for step in (_images, _objects)]
        for future in waiting:
            future.result()
    addons.start_storage(layout)
    addons.start_traefik(layout)
    addons.wait_traefik(layout)
    node.wait_ready(layout)
    addons.wait_dns(layout)
    argo.start_controller(layout)
    pki.write(layout.facts, json.dumps(facts_of(layout), indent=1))


def _images(layout: Layout) -> None:
    services.wait_registry(layout)
    services.wait_engine(layout)
    with _locked(layout.build):  # other clusters may share it
        services.base_images(layout)


def _objects(layout: Layout) -> None:
    addons.apply(layout, [*manifests.dns(layout), *manifests.storage()])
    addons.custom_resources(layout)
    addons.apply(layout, manifests.gateway(layout))


def down() -> bool:
    """Leave nothing of this checkout's cluster but what was built. False where there was none."""
    home = home_of()
    if not home.exists():
        return False
    with _locked(home):
        if claimed(home) is None and not any((home / name).exists() for name in clean.WRITTEN):
            return False
        # After the machine was started anew there is no claim, but files.
        clean.down(claim(home))
    return True


def forget_build() -> None:
    """Take the cluster down and remove what was built, too."""
    down()
    shutil.rmtree(home_of() / "build", ignore_errors=True)


def facts_of(layout: Layout) -> dict[str, object]:
    """What others need to know of the cluster, as facts.json."""
    return {
        "kubeconfig": str(layout.kubeconfig),
        "kubectl": str(layout.bin / "kubectl"),
        "nodes": [each.name for each in layout.nodes],
        "machines": {each.name: {"address": each.address, "inside": each.inside} for each in layout.nodes},
        "host": layout.host,
        "docker_host": f"unix://{layout.docker_socket}",
        "docker": services.CLIENT,
        "registry": {
            "address": layout.registry,
            "ca": str(layout.pki / "ca.crt"),
            "username": services.USER,
            "password": services.password(layout),
        },
        "base_image": {name: f"{layout.registry}/{tag}" for name, tag in images.BASES.items()},
        "gateway": {
            "address": layout.gateway,
            "class": manifests.GATEWAY_CLASS,
            "name": manifests.GATEWAY,
            "namespace": manifests.GATEWAY_NAMESPACE,
            "section": "http",
        },
        "storage_class": manifests.STORAGE_CLASS,
        "ca": {"certificate": str(layout.pki / "ca.crt"), "key": str(layout.pki / "ca.key")},
    }
