"""Where the executors of this installation work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from pipelines.executors.base import Measured, Workplace


def here(measured: Callable[[str], Measured] | None = None) -> Workplace:
    """`measured` is how the engine lets executors read what agents measured."""
    return Workplace(
        home=Path(settings.HOME),
        port_base=settings.PORT_BASE,
        environment_ports=settings.ENVIRONMENT_PORTS,
        measured=measured,
    )
