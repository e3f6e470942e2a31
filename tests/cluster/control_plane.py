"""etcd, the API server, the controller manager and the scheduler, on this machine's side of the cluster's bridge."""

from __future__ import annotations

import ssl
import urllib.request

from tests.cluster import pki
from tests.cluster.layout import Layout
from tests.cluster.processes import run, start, wait


def kubectl(layout: Layout, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
    return run([layout.bin / "kubectl", "--kubeconfig", layout.kubeconfig, *arguments], given=given, timeout=timeout)


def certificates(layout: Layout) -> None:
    """All that the control plane shows or signs with, and the administrator's kubeconfig."""
    service = layout.address(64, 1)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    pki.authority(layout.pki)
    pki.trust(layout.pki)
    pki.signing_key(layout.pki)
    pki.issue(layout.pki, "apiserver", "kube-apiserver", hosts=[*names, "localhost", "127.0.0.1", service, layout.host])
    pki.issue(layout.pki, "etcd", "etcd", hosts=[layout.host])
    pki.issue(layout.pki, "apiserver-kubelet", "kube-apiserver-kubelet", groups=["system:masters"])
    admin = pki.issue(layout.pki, "admin", "administrator", groups=["system:masters"])
    pki.kubeconfig(layout, layout.kubeconfig, admin, user="administrator")
    for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        pair = pki.issue(layout.pki, name, f"system:{name}")
        pki.kubeconfig(layout, layout.etc / f"{name}.kubeconfig", pair, user=name)


def start_etcd(layout: Layout) -> None:
    folder = layout.pki
    start(
        layout,
        "etcd",
        [
            layout.bin / "etcd",
            f"--data-dir={layout.home / 'data' / 'etcd'}",
            f"--listen-client-urls=https://{layout.host}:2379",
            f"--advertise-client-urls=https://{layout.host}:2379",
            f"--listen-peer-urls=http://{layout.host}:2380",
            f"--initial-advertise-peer-urls=http://{layout.host}:2380",
            f"--initial-cluster=default=http://{layout.host}:2380",
            f"--cert-file={folder / 'etcd.crt'}",
            f"--key-file={folder / 'etcd.key'}",
            f"--trusted-ca-file={folder / 'ca.crt'}",
            "--client-cert-auth",
            "--unsafe-no-fsync",  # what a test cluster holds may be lost with the machine
            "--log-level=warn",
        ],
    )


def start_apiserver(layout: Layout) -> None:
    folder = layout.pki
    start(
        layout,
        "kube-apiserver",
        [
            layout.bin / "kube-apiserver",
            f"--bind-address={layout.host}",
            f"--advertise-address={layout.host}",
            "--secure-port=6443",
            f"--etcd-servers=https://{layout.host}:2379",
            f"--etcd-cafile={folder / 'ca.crt'}",
            f"--etcd-certfile={folder / 'apiserver-kubelet.crt'}",
            f"--etcd-keyfile={folder / 'apiserver-kubelet.key'}",
            f"--service-cluster-ip-range={layout.services}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--kubelet-client-certificate={folder / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={folder / 'apiserver-kubelet.key'}",
            f"--kubelet-certificate-authority={folder / 'ca.crt'}",
            # Else logs and exec look the nodes' names up.
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--cert-dir={layout.home / 'data' / 'apiserver'}",
        ],
    )


def wait_apiserver(layout: Layout) -> None:
    wait(layout, "The API server", lambda: ready(layout), log="kube-apiserver")


def ready(layout: Layout) -> bool:
    """Whether the API server says that it is; answers within two seconds."""
    context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    with urllib.request.urlopen(f"{layout.api}/readyz", timeout=2, context=context) as answer:
        return bool(answer.status == 200)


def start_controllers(layout: Layout) -> None:
    folder = layout.pki
    serving = ["--leader-elect=false", f"--bind-address={layout.host}"]
    config = layout.etc / "kube-controller-manager.kubeconfig"
    start(
        layout,
        "kube-controller-manager",
        [
            layout.bin / "kube-controller-manager",
            *serving,
            f"--kubeconfig={config}",
            f"--cert-dir={layout.home / 'data' / 'controller-manager'}",
            f"--root-ca-file={folder / 'ca.crt'}",
            f"--service-account-private-key-file={folder / 'service-accounts.key'}",
            f"--cluster-signing-cert-file={folder / 'ca.crt'}",
            f"--cluster-signing-key-file={folder / 'ca.key'}",
            f"--flex-volume-plugin-dir={layout.home / 'data' / 'flexvolumes'}",
            "--use-service-account-credentials",
        ],
    )
    config = layout.etc / "kube-scheduler.kubeconfig"
    start(
        layout,
        "kube-scheduler",
        [
            layout.bin / "kube-scheduler",
            *serving,
            f"--kubeconfig={config}",
            f"--cert-dir={layout.home / 'data' / 'scheduler'}",
        ],
    )
