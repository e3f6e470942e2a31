"""The Docker Engine and the registry beside the cluster, both with roots, sockets and names of their own."""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from tests.cluster import images, pki
from tests.cluster.layout import Layout
from tests.cluster.processes import run, start, wait

USER = "burger"
# Debian's own, which has the classic builder and BuildKit both, wherever another client comes first on the PATH.
CLIENT = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def docker(layout: Layout) -> list[str]:
    """The engine's command line, with the credentials of this cluster's registry."""
    return [CLIENT, "--config", str(layout.etc / "docker"), "--host", f"unix://{layout.docker_socket}"]


def start_engine(layout: Layout) -> None:
    """Start containerd and dockerd. They make no rules of their own: two engines on one machine would share them."""
    data, run_folder = layout.home / "data" / "docker", layout.run / "docker"
    config = pki.write(
        layout.etc / "docker-containerd.toml",
        f'version = 2\nroot = "{data / "containerd"}"\nstate = "{run_folder / "containerd"}"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{run_folder / "containerd.sock"}"\n',
    )
    trust = {"SSL_CERT_FILE": str(layout.pki / "trust.crt")}
    start(layout, "docker-containerd", ["containerd", "--config", config], env=trust)
    wait(layout, "The engine's containerd", (run_folder / "containerd.sock").exists, log="docker-containerd")
    settings = {
        "data-root": str(data / "root"),
        "exec-root": str(run_folder / "exec"),
        "pidfile": str(run_folder / "docker.pid"),
        "hosts": [f"unix://{layout.docker_socket}"],
        "containerd": str(run_folder / "containerd.sock"),
        "bridge": layout.docker_bridge,
        "fixed-cidr": layout.address(3, 0) + "/24",
        "default-address-pools": [{"base": layout.address(128, 0) + "/17", "size": 24}],
        "cgroup-parent": f"/{layout.name}/docker",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "deprecated-key-path": str(layout.etc / "docker-key.json"),
        "iptables": False,
        "ip-masq": False,
        "ip-forward": False,
    }
    path = pki.write(layout.etc / "docker.json", json.dumps(settings, indent=1))
    start(layout, "dockerd", ["dockerd", "--config-file", path], env=trust)


def wait_engine(layout: Layout) -> None:
    wait(layout, "The Docker Engine", lambda: bool(run([*docker(layout), "info"])), log="dockerd")


def start_registry(layout: Layout) -> None:
    """Start a registry with TLS and one user; with the base images, where an earlier cluster made them."""
    data = layout.home / "data" / "registry"
    seed = layout.build / "registry"
    if seed.exists():
        shutil.copytree(seed, data)
    password = secrets.token_urlsafe(18)
    pki.write(layout.etc / "registry.password", password)
    hashed = run(["htpasswd", "-niB", USER], given=password)
    users = pki.write(layout.etc / "registry.htpasswd", hashed.strip() + "\n")
    pair = pki.issue(layout.pki, "registry", "registry", hosts=[layout.host])
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        "auth": {"htpasswd": {"realm": "burger", "path": str(users)}},
        "http": {
            "addr": layout.registry,
            "secret": secrets.token_hex(16),
            "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        },
    }
    path = pki.write(layout.etc / "registry.json", json.dumps(config, indent=1))
    start(layout, "registry", ["docker-registry", "serve", path], env={"OTEL_TRACES_EXPORTER": "none"})


def wait_registry(layout: Layout) -> None:
    context = ssl.create_default_context(cafile=str(pki.authority(layout.pki).certificate))

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"https://{layout.registry}/v2/", timeout=2, context=context)
        except urllib.error.HTTPError as error:
            return error.code == 401
        return False

    wait(layout, "The registry", answers, log="registry")


def password(layout: Layout) -> str:
    return (layout.etc / "registry.password").read_text()


def base_images(layout: Layout) -> None:
    """See that the registry has the base images; the first time they are made, and kept for the next cluster."""
    login = ["login", "--username", USER, "--password-stdin", layout.registry]
    run([*docker(layout), *login], given=password(layout))
    seed = layout.build / "registry"
    if seed.exists():
        return
    images.bases(layout, docker(layout))
    partial = seed.with_name("registry.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(layout.home / "data" / "registry", partial)
    partial.rename(seed)
