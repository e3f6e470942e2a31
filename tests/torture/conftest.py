"""One installation for all tests that only need one: starting it is most of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .installation import Backstage, Installation, environment, free_port, installed

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.torture)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("torture")) as site:
        yield site


@pytest.fixture
def backstage(tmp_path: Path) -> Iterator[Callable[[], Backstage]]:
    """Call it for a process on a home of the test's own, in which nothing else runs."""
    env = environment(tmp_path / "var", free_port(), BURGER_LOG_LEVEL="ERROR", BURGER_DATABASE_TIMEOUT="60")
    begun: list[Backstage] = []

    def another() -> Backstage:
        begun.append(Backstage(env))
        return begun[-1]

    yield another
    for each in begun:
        each.close()
