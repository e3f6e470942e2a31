"""Secrets from a real Vault: its own core and HTTP API behind TLS, with a policy for each team."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelines.executors.secrets import SecretError, resolve
from tests.cluster import pki

pytestmark = pytest.mark.cluster

SECRET = "pa/ss+wörd"
# What the portal's token may do: read what lies below burger/, and nothing else.
POLICY = 'path "secret/data/burger/*" { capabilities = ["read"] }'


@dataclass
class Vault:
    """`home` is a state folder that knows it, with a token that may read."""

    process: subprocess.Popen[str]
    client: httpx.Client
    home: Path

    def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.request(method, path, json=body or None)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def keep(self, path: str, **data: str) -> None:
        self.ask("POST", f"secret/data/{path}", data=data)

    def token(self, *policies: str, **given: str) -> str:
        made = self.ask("POST", "auth/token/create", policies=list(policies), no_default_policy=True, **given)
        return str(made["auth"]["client_token"])

    def use(self, token: str) -> None:
        path = self.home / "token"
        path.touch(mode=0o600)
        path.write_text(f"{token}\n")


@pytest.fixture
def vault(program: Callable[[str], Path], tmp_path: Path) -> Iterator[Vault]:
    pair = pki.issue(tmp_path, "vault", "vault", hosts=["127.0.0.1"])
    authority = pki.authority(tmp_path).certificate
    command = [str(program("vault")), str(pair.certificate), str(pair.key)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline() or "{}")
        assert said, (tmp_path / "log").read_text()
        address = f"https://{said['address']}"
        home = tmp_path / "home"
        home.mkdir()
        known = {"address": address, "token": "token", "mount": "secret", "path": "burger/{team}", "ca": str(authority)}
        (home / "connections.yaml").write_text(yaml.safe_dump({"secrets": {"vault": known}}))
        headers, trust = {"X-Vault-Token": said["token"]}, ssl.create_default_context(cafile=authority)
        with httpx.Client(base_url=f"{address}/v1", verify=trust, headers=headers, timeout=20) as client:
            made = Vault(process, client, home)
            made.ask("POST", "sys/mounts/secret", type="kv", options={"version": "2"})
            made.ask("PUT", "sys/policies/acl/portal", policy=POLICY)
            made.use(made.token("portal"))
            yield made
    finally:
        process.kill()
        process.wait()


def test_a_secret_is_read_in_its_newest_version_and_every_team_has_its_own(vault: Vault) -> None:
    vault.keep("burger/dev/registry", value="old", user="robot")
    vault.keep("burger/dev/registry", value=SECRET, user="robot")
    vault.keep("burger/ops/registry", value="of ops")
    assert resolve(vault.home, "dev", "vault:registry") == SECRET
    assert resolve(vault.home, "dev", "vault:registry/user") == "robot"
    assert resolve(vault.home, "ops", "vault:registry") == "of ops"
    with pytest.raises(SecretError, match="has no text 'lost'"):
        resolve(vault.home, "dev", "vault:registry/lost")
    with pytest.raises(SecretError, match="Vault has nothing at"):
        resolve(vault.home, "dev", "vault:absent")


def test_a_deleted_version_is_not_there(vault: Vault) -> None:
    vault.keep("burger/dev/registry", value=SECRET)
    vault.ask("DELETE", "secret/data/burger/dev/registry")
    with pytest.raises(SecretError, match="is not there: Vault has nothing at"):
        resolve(vault.home, "dev", "vault:registry")


def test_a_token_that_may_not_or_holds_no_more_is_refused_without_its_text(vault: Vault) -> None:
    vault.keep("burger/dev/registry", value=SECRET)
    good = vault.token("portal")
    for token in (vault.token("default"), "s.nonsense"):
        vault.use(token)
        with pytest.raises(SecretError, match=r"is refused: Vault at .* answers 403") as caught:
            resolve(vault.home, "dev", "vault:registry")
        assert token not in str(caught.value)
    vault.use(good)
    assert resolve(vault.home, "dev", "vault:registry") == SECRET
    vault.ask("POST", "auth/token/revoke", token=good)
    with pytest.raises(SecretError, match="answers 403"):
        resolve(vault.home, "dev", "vault:registry")


def test_a_sealed_vault_and_one_that_is_gone_are_told(vault: Vault) -> None:
    vault.keep("burger/dev/registry", value=SECRET)
    vault.ask("PUT", "sys/seal")
    with pytest.raises(SecretError, match=r"cannot be read: Vault at .* answers 503"):
        resolve(vault.home, "dev", "vault:registry")
    vault.process.kill()
    vault.process.wait()
    with pytest.raises(SecretError, match="does not answer"):
        resolve(vault.home, "dev", "vault:registry")


def test_an_authority_of_somebody_else_is_not_believed(vault: Vault, tmp_path: Path) -> None:
    vault.keep("burger/dev/registry", value=SECRET)
    (tmp_path / "other").mkdir()
    other = pki.authority(tmp_path / "other").certificate
    text = (vault.home / "connections.yaml").read_text()
    content = yaml.safe_load(text)
    content["secrets"]["vault"]["ca"] = str(other)
    (vault.home / "connections.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SecretError, match="certificate verify failed"):
        resolve(vault.home, "dev", "vault:registry")
