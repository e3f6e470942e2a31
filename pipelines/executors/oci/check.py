"""Whether a registry can be used, in one sentence."""

from __future__ import annotations

from pipelines.executors.connections import Registry
from pipelines.executors.oci import auth
from pipelines.executors.oci.client import RegistryClient
from pipelines.executors.oci.errors import RegistryError
from pipelines.executors.oci.transport import Patience

QUICKLY = Patience(tries=1, timeout=5.0)


def check(registry: Registry) -> tuple[bool, str]:
    """Whether it answers as a registry over TLS, and a sentence about it. Sends no credential; takes at most some
    seconds."""
    try:
        with RegistryClient(registry, patience=QUICKLY) as client:
            challenge = client.ping()
            if challenge is None:
                return True, f"The registry {registry.address} answers and lets anybody in."
            if challenge.scheme == "basic":
                return True, f"The registry {registry.address} answers and asks for a username and a password."
            auth.check_realm(registry, challenge)
            return True, f"The registry {registry.address} answers; its tokens come from {challenge.realm}."
    except RegistryError as error:
        return False, str(error)
