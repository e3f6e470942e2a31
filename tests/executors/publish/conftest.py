"""A registry that all tests of this folder share; each uses repositories of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.executors.oci import Credential, RegistryClient
from pipelines.executors.oci.transport import Patience

from . import registries

QUICK = Patience(tries=3, first=0.02, longest=0.05, timeout=5.0)
CREDENTIAL = Credential(registries.USER, registries.PASSWORD, "the secrets 'user' and 'password' of team dev")
WRONG = Credential(registries.USER, "wrong", "the secrets 'user' and 'password' of team dev")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Running]:
    """docker-registry with TLS of its own authority, which asks for a password."""
    if not registries.installed():
        pytest.skip(registries.MISSING)
    with registries.serve(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def proxy(running: registries.Running) -> Iterator[registries.Proxy]:
    """The same registry behind something that can be made to fail."""
    with registries.proxy(running) as between:
        yield between


@pytest.fixture
def client(proxy: registries.Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(proxy.registry(), CREDENTIAL, patience=QUICK) as found:
        yield found
