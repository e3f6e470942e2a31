"""How executors read what agents measured: plain data out of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pipelines.executors.base import Measured
from pipelines.performance import selectors
from pipelines.performance.verdict import Reading


def of(environment: str, persistently: Callable[[Callable[[], Reading]], Reading]) -> Measured:
    """Reads what was measured of an environment. `persistently` calls again while the database is away."""

    def measured(release: str, sources: Sequence[str], since: float, until: float) -> Reading:
        first, last = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC)

        def read() -> Reading:
            sketches = {source: selectors.sketch(environment, release, source, first, last) for source in sources}
            return Reading(sketches, selectors.counts(environment, release, first, last))

        return persistently(read)

    return measured
