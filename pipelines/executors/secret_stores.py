"""Where secrets are besides files and the environment: an encrypted file for each team, HashiCorp Vault, Kubernetes.

connections.yaml says where they are and how they are reached. Wherever a secret lies, its place has the name of the
team in it: what a pipeline file may say is only the name within its own team.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from pipelines.executors.connections import SecretNamespaces, Vault
from pipelines.executors.secrets import SecretError, read_private

# The key of a secret that holds several texts, where a reference names none.
DEFAULT_KEY = "value"
TIMEOUT = 5.0
TRIES = 4
_HEADER = "$ANSIBLE_VAULT"
_ROUNDS = 10_000


def from_store(home: Path, key: Path | None, team: str, name: str) -> str:
    """One entry of `home`/stores/TEAM.yml, a mapping that ansible-vault encrypted with the password in the file
    `key`."""
    said = f"The secret 'store:{name}' of team {team!r}"
    if key is None:
        raise SecretError(f"{said} cannot be opened: connections.yaml names no key for stores (secrets.store.key).")
    path = home / "stores" / f"{team}.yml"
    text = read_private(path, f"The store of team {team!r}")
    password = read_private(key, "The key of the stores").strip()
    try:
        content = yaml.safe_load(decrypt(text, password))
    except (ValueError, yaml.YAMLError):
        # Whatever came out of a wrong key stays here.
        raise SecretError(
            f"{said} cannot be opened: {path} was not encrypted by ansible-vault with the key in {key}, or holds no "
            "mapping of names to texts."
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get(name), str):
        raise SecretError(f"{said} is not there: add it as a text with ansible-vault edit {path}.")
    return content[name]


def decrypt(text: str, password: str) -> str:
    """What ansible-vault encrypted (format 1.1 or 1.2, AES256). Raises ValueError."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    header, _, body = text.strip().partition("\n")
    kind = header.strip().split(";")
    if kind[0] != _HEADER or len(kind) < 3 or kind[1] not in ("1.1", "1.2") or kind[2] != "AES256":
        raise ValueError("not a file of ansible-vault")
    salt, code, hidden = (
        binascii.unhexlify(part) for part in binascii.unhexlify("".join(body.split())).split(b"\n", 2)
    )
    keys = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS, 80)
    if not hmac.compare_digest(hmac.new(keys[32:64], hidden, hashlib.sha256).digest(), code):
        raise ValueError("another password, or damaged")
    decryptor = Cipher(algorithms.AES(keys[:32]), modes.CTR(keys[64:80])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(hidden) + decryptor.finalize()
    return (unpadder.update(padded) + unpadder.finalize()).decode()


def from_vault(vault: Vault | None, team: str, name: str, key: str) -> str:
    """One key of the secret MOUNT/PATH/NAME, `{team}` of PATH filled in, of Vault's KV engine, version 2."""
    said = f"The secret 'vault:{name}' of team {team!r}"
    if vault is None:
        raise SecretError(f"{said} cannot be read: connections.yaml does not say where Vault is (secrets.vault).")
    path = f"{vault.path.format(team=team)}/{name}".strip("/")
    address = f"{vault.address}/v1/{quote(vault.mount)}/data/{quote(path)}"
    token = read_private(vault.token, "The token for Vault").strip()
    answer = _asked(address, token, vault, said)
    data = ((answer.get("data") or {}).get("data") or {}) if isinstance(answer, dict) else {}
    if not isinstance(data.get(key), str):
        raise SecretError(f"{said} has no text {key!r}: write it to {vault.mount}/{path} in Vault.")
    return data[key]


def _asked(address: str, token: str, vault: Vault, said: str) -> Any:
    """Vault's answer, patient with what passes by itself. What it answers to errors may be anything: only the status
    is told."""
    import httpx

    verify = ssl.create_default_context(cafile=str(vault.ca)) if vault.ca else True
    why = ""
    for number in range(TRIES):
        time.sleep(0.25 * (2**number - 1))
        try:
            answer = httpx.get(
                address, headers={"X-Vault-Token": token}, timeout=TIMEOUT, verify=verify, follow_redirects=False
            )
        except httpx.HTTPError as error:
            why = f"Vault at {vault.address} does not answer: {error}"
            continue
        if answer.status_code == 200:
            return answer.json()
        if answer.status_code == 404:
            raise SecretError(f"{said} is not there: Vault has nothing at {address}.")
        why = f"Vault at {vault.address} answers {answer.status_code}"
        if answer.status_code in (401, 403):
            raise SecretError(f"{said} is refused: {why}. Does the token in {vault.token} hold, and may it read there?")
        if answer.status_code != 429 and answer.status_code < 500:
            break
    raise SecretError(f"{said} cannot be read: {why}.")


def from_kubernetes(where: SecretNamespaces | None, team: str, name: str, key: str) -> str:
    """One key of the Secret of that name in the team's own namespace."""
    from pipelines.executors.kubernetes.client import Client
    from pipelines.executors.kubernetes.errors import ClusterError

    said = f"The secret 'kubernetes:{name}' of team {team!r}"
    if where is None:
        raise SecretError(
            f"{said} cannot be read: connections.yaml does not say in which cluster and namespaces "
            "(secrets.kubernetes)."
        )
    namespace = where.namespace.format(team=team)
    try:
        with closing(Client(where.cluster, namespace, patience=TIMEOUT, timeout=TIMEOUT)) as client:
            found = client.get("Secret", name)
    except ClusterError as error:
        raise SecretError(f"{said} cannot be read: {error}") from None
    data = (found or {}).get("data") or {}
    if key not in data:
        raise SecretError(f"{said} is not there: expected {key!r} in the Secret {name} of the namespace {namespace}.")
    try:
        return base64.b64decode(data[key]).decode()
    except ValueError:
        raise SecretError(f"{said} is no UTF-8 text; store it in base64.") from None
