"""The pages' and the API's clients."""

from __future__ import annotations

from tests.api.conftest import speak
from tests.portal.conftest import sign_in

__all__ = ["sign_in", "speak"]
