"""One authority for the cluster, and the certificates and kubeconfigs that it signs."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.layout import Layout

DAYS = 30


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key, as PEM."""

    certificate: Path
    key: Path


def write(path: Path, content: str | bytes) -> Path:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _subject(name: str, groups: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def authority(folder: Path) -> Pair:
    """The authority of this folder, made at first."""
    pair = Pair(folder / "ca.crt", folder / "ca.key")
    if pair.certificate.exists():
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("burger test cluster", [])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write(pair.key, _key_pem(key))
    write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return pair


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=None,
        decipher_only=None,
    )


def issue(folder: Path, file: str, name: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> Pair:
    """A certificate for `name` in `groups`, good for both ends of TLS; `hosts` are the DNS names and addresses it
    serves. Signed by the authority of `folder`, written to FILE.crt and FILE.key there."""
    ca = authority(folder)
    ca_key = serialization.load_pem_private_key(ca.key.read_bytes(), None)
    ca_certificate = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        _builder(_subject(name, groups), ca_certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_certificate.public_key()), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(usage, critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    pair = Pair(folder / f"{file}.crt", folder / f"{file}.key")
    write(pair.key, _key_pem(key))
    write(pair.certificate, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return pair


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def signing_key(folder: Path) -> Path:
    """The key that service account tokens are signed with; its public half beside it as .pub."""
    path = folder / "service-accounts.key"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write(path, _key_pem(key))
    write(path.with_suffix(".pub"), public)
    return path


def kubeconfig(layout: Layout, path: Path, client: Pair, *, user: str) -> Path:
    """A kubeconfig that holds everything it needs, for the user that the certificate names."""
    ca = authority(layout.pki)

    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    cluster = {"server": layout.api, "certificate-authority-data": inline(ca.certificate)}
    credentials = {"client-certificate-data": inline(client.certificate), "client-key-data": inline(client.key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": layout.name,
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": user}}],
    }
    return write(path, json.dumps(content, indent=1))


def trust(folder: Path) -> Path:
    """A bundle of this machine's authorities and ours, for programs that take one file (SSL_CERT_FILE)."""
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    ours = authority(folder).certificate.read_text()
    return write(folder / "trust.crt", (system.read_text() if system.exists() else "") + "\n" + ours)
