"""Registries that speak the OCI distribution protocol: asking them, signing in, finding what may be deleted.

Images are pushed by the engine that built them (`publish/push.py`); everything else that is said to a registry is
said from here, so that credentials and errors are dealt with in one place.
"""

from pipelines.executors.oci.check import check
from pipelines.executors.oci.client import Manifest, RegistryClient
from pipelines.executors.oci.errors import Credential, RegistryAway, RegistryError, RegistryRefused

__all__ = ["Credential", "Manifest", "RegistryAway", "RegistryClient", "RegistryError", "RegistryRefused", "check"]
