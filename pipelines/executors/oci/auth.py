"""Signing in: what a registry asks for, and the tokens that its token service gives.

The password goes to the registry's own host, or to a token service that connections.yaml names, and nowhere else,
whatever an answer says.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import httpx

from pipelines.executors.connections import Registry
from pipelines.executors.oci.errors import Credential, RegistryError, RegistryRefused
from pipelines.executors.oci.names import api_host

# A token that ends within this many seconds, or half its life, is not used any more.
MARGIN = 10.0
# What the protocol says of tokens that do not say how long they live.
LIFETIME = 60.0

Send = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for. `scheme` is "basic" or "bearer"; `realm` the address of the token service."""

    scheme: str
    realm: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    until: float  # on the monotonic clock

    @property
    def fresh(self) -> bool:
        return time.monotonic() < self.until


def challenge_of(headers: Iterable[str]) -> Challenge | None:
    """The first of the WWW-Authenticate headers that can be answered; None where there is none."""
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() not in ("basic", "bearer"):
            continue
        try:
            fields = parse_keqv_list(parse_http_list(rest))
        except (ValueError, IndexError):
            fields = {}
        if scheme.lower() == "basic":
            return Challenge("basic")
        return Challenge("bearer", fields.get("realm", ""), fields.get("service", ""))
    return None


def check_realm(registry: Registry, challenge: Challenge) -> None:
    """Raises RegistryError unless the token service may be asked with the registry's credential."""
    try:
        realm = urlsplit(challenge.realm)
        host = realm.netloc.lower()
    except ValueError:
        host, realm = "", urlsplit("")
    if realm.scheme != "https" or not host or "@" in host:
        raise RegistryError(
            f"The registry {registry.address} names {challenge.realm!r} as its token service; expected an https "
            "address. No credential was sent."
        )
    own = {registry.address.lower(), api_host(registry.address.lower())}
    known = {_with_port(each) for each in (*own, *(host.lower() for host in registry.token_hosts))}
    if _with_port(host) not in known:
        raise RegistryError(
            f"The registry {registry.address} wants a token from {host}, which is another host. No credential was "
            f"sent. If {host} is its token service, add it to token_hosts of registries.{registry.address} in "
            "connections.yaml."
        )


def fetch_token(
    send: Send, registry: Registry, challenge: Challenge, credential: Credential | None, scopes: Iterable[str]
) -> Token:
    """A token for these scopes, such as `repository:shop/backend:pull,push`.

    Raises RegistryRefused when the token service refuses the credential, RegistryError when it answers otherwise.
    """
    check_realm(registry, challenge)
    query = {"scope": list(scopes)} | ({"service": challenge.service} if challenge.service else {})
    url = httpx.URL(challenge.realm)
    request = httpx.Request("GET", url.copy_merge_params(query), headers=basic(credential))
    answer = send(request)
    if answer.status_code in (401, 403):
        raise refused(registry.address, credential, answer.status_code, f"asking {url.netloc.decode()} for a token")
    if answer.status_code != 200:
        raise RegistryError(f"The token service {url.netloc.decode()} answered {answer.status_code}; expected 200.")
    return _token(answer, url.netloc.decode())


def _token(answer: httpx.Response, host: str) -> Token:
    try:
        found = answer.json()
        text = found.get("token") or found.get("access_token")
        lifetime = float(found.get("expires_in") or LIFETIME)
    except (json.JSONDecodeError, AttributeError, TypeError, ValueError):
        text, lifetime = None, 0.0
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise RegistryError(f"The token service {host} answered without a token; expected JSON with `token`.")
    return Token(text, time.monotonic() + lifetime - min(MARGIN, lifetime / 2))


def basic(credential: Credential | None) -> dict[str, str]:
    """The header of basic authentication; empty without a credential."""
    if credential is None:
        return {}
    pair = f"{credential.username}:{credential.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def refused(host: str, credential: Credential | None, status: int, doing: str) -> RegistryRefused:
    """The error for a 401 or 403 while `doing` something; names the credential, never its value."""
    if credential is None:
        return RegistryRefused(
            f"The registry {host} answered {status} when {doing}, and no credential was given: name "
            "`secrets: {username: REFERENCE, password: REFERENCE}` of the owning team."
        )
    if status == 401:
        hint = "Check that they are right and have not expired, and set them again."
    else:
        hint = "They are known there but may not do this: have the account given the right, or use another one."
    return RegistryRefused(f"The registry {host} answered {status} when {doing} with {credential.source}. {hint}")


def _with_port(host: str) -> str:
    """HOST:443 and HOST are one place over https."""
    return host.removesuffix(":443")
