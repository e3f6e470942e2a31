"""Secrets that lie elsewhere: in a file that the real ansible-vault encrypted, and behind Vault's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.executors.connections import ConnectionsError, load
from pipelines.executors.secrets import SecretError, resolve

SECRET = "pa/ss+wörd"
TOKEN = "s.token"


def private(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def store(tmp_path):
    """A state folder with a store of the team dev."""
    key = private(tmp_path / "store.key", "open sesame\n")
    (tmp_path / "connections.yaml").write_text("secrets: {store: {key: store.key}}")
    path = private(tmp_path / "stores" / "dev.yml", f"token: {SECRET}\nport: 5432\n")
    command = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt", "--vault-password-file", str(key)]
    subprocess.run([*command, str(path)], check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return tmp_path


def test_an_encrypted_store_gives_each_team_its_own(store):
    assert SECRET not in (store / "stores" / "dev.yml").read_text()
    assert resolve(store, "dev", "store:token") == SECRET
    for team, name, words in (
        ("dev", "other", "add it as a text with ansible-vault edit"),
        ("dev", "port", "add it as a text"),
        ("ops", "token", "The store of team 'ops' is not there"),
    ):
        with pytest.raises(SecretError, match=words):
            resolve(store, team, f"store:{name}")


def test_a_store_that_cannot_be_opened_is_named(store):
    private(store / "store.key", "close sesame")
    with pytest.raises(SecretError, match="was not encrypted by ansible-vault with the key in"):
        resolve(store, "dev", "store:token")
    (store / "connections.yaml").unlink()
    with pytest.raises(SecretError, match=r"connections\.yaml names no key"):
        resolve(store, "dev", "store:token")


class Vault(BaseHTTPRequestHandler):
    """What Vault's KV engine answers to reads: `answers` are used up first, as (status, body)."""

    answers: list[tuple[int, bytes]] = []
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        if self.answers:
            status, body = self.answers.pop(0)
        elif self.headers["X-Vault-Token"] != TOKEN:
            status, body = 403, b'{"errors": ["permission denied"]}'
        elif self.path == "/v1/kv/data/burger/dev/registry":
            data = {"data": {"data": {"value": SECRET, "user": "robot"}, "metadata": {"version": 3}}}
            status, body = 200, json.dumps(data).encode()
        else:
            status, body = 404, b'{"errors": []}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def vault(tmp_path):
    """A state folder that knows a Vault."""
    Vault.answers, Vault.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    private(tmp_path / "token", f"{TOKEN}\n")
    address = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "connections.yaml").write_text(f"secrets: {{vault: {{address: '{address}', token: token, mount: kv}}}}")
    yield tmp_path
    server.shutdown()
    thread.join()
    server.server_close()


def test_vault_gives_one_text_of_a_secret_of_the_team(vault):
    assert resolve(vault, "dev", "vault:registry") == SECRET
    assert resolve(vault, "dev", "vault:registry/user") == "robot"
    with pytest.raises(SecretError, match="Vault has nothing at"):
        resolve(vault, "ops", "vault:registry")
    assert Vault.asked[-1] == "/v1/kv/data/burger/ops/registry"
    with pytest.raises(SecretError, match="has no text 'lost'"):
        resolve(vault, "dev", "vault:registry/lost")


def test_what_passes_by_itself_is_waited_for_and_a_refusal_is_not(vault):
    Vault.answers = [(503, b"sealed"), (429, b"")]
    assert resolve(vault, "dev", "vault:registry") == SECRET
    assert len(Vault.asked) == 3
    private(vault / "token", "s.other")
    with pytest.raises(SecretError, match=r"is refused: Vault at .* answers 403") as caught:
        resolve(vault, "dev", "vault:registry")
    assert "s.other" not in str(caught.value)
    assert len(Vault.asked) == 4


@pytest.mark.parametrize(
    "reference",
    ["vault:../ops/registry", "vault:registry/", "vault:a/b/c", "store:a/b", "kubernetes:", "azure:x", "a/b"],
)
def test_what_is_no_reference_is_refused(tmp_path, reference):
    with pytest.raises(SecretError, match="is no reference to a secret"):
        resolve(tmp_path, "dev", reference)


@pytest.mark.parametrize("reference", ["vault:x", "kubernetes:x/y"])
def test_a_store_that_nobody_named_is_told(tmp_path, reference):
    with pytest.raises(SecretError, match=r"connections\.yaml does not say"):
        resolve(tmp_path, "dev", reference)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vault: {address: 'http://vault.example', token: t}", "secrets.vault.address is 'http://vault.example'"),
        ("vault: {address: 'http://127.0.0.1.example', token: t}", "secrets.vault.address"),
        ("vault: {address: 'https://vault.example'}", "needs `token: FILE`"),
        ("vault: {address: 'https://vault.example', token: t, path: burger}", "a text with {team} in it"),
        ("vault: {address: 'https://vault.example', token: t, path: '{team}/{0}'}", "a text with {team} in it"),
        ("kubernetes: {cluster: nil, namespace: 's-{team}'}", "secrets.kubernetes.cluster is 'nil'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path, text, words):
    (tmp_path / "connections.yaml").write_text(f"secrets: {{{text}}}")
    with pytest.raises(ConnectionsError) as caught:
        load(tmp_path)
    assert words in str(caught.value)
