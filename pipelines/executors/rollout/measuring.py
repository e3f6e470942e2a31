"""Who judges a release while it is rolled out, as the driver of rollouts sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol


class Verdict(Protocol):
    @property
    def state(self) -> Literal["pass", "fail", "inconclusive"]: ...

    @property
    def reason(self) -> str: ...

    @property
    def numbers(self) -> Mapping[str, Any]: ...


# measure(base_url=, release=, settings=, control=, folder=, environment=) yields Log, Progress and, last, a Verdict.
Measure = Callable[..., Iterator[Any]]
