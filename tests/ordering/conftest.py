"""The shop's stage: a menu, orders, and a real shop served alone.

These tests pass with the shop mounted in the portal and alone:
pytest tests/ordering, pytest tests/ordering --ds ordering.site.testing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ordering.served import Shop, build_frontend, migrated_database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: drives a real browser")


@pytest.fixture(autouse=True)
def fresh_pages(settings: Any) -> None:
    """What a test changes is on the menu at once, and nobody has tried anything yet."""
    from ordering import guessing

    settings.SHOP_MENU_MAX_AGE = 0
    guessing.forget()


@pytest.fixture
def menu(db: None) -> dict[str, Any]:
    """The first menu by slug; of the brownie there are five."""
    from ordering.first_menu import add_first_menu
    from ordering.models import Category, MenuItem

    add_first_menu(categories=Category.objects, items=MenuItem.objects)
    MenuItem.objects.filter(slug="brownie").update(stock=5)
    return {item.slug: item for item in MenuItem.objects.all()}


@pytest.fixture
def place(menu: dict[str, Any]) -> Callable[..., Any]:
    """Place an order through the door: place({"fries": 2}, name="Ada")."""
    from ordering import orders
    from ordering.wishes import Wish, plain_lines

    def _place(lines: dict[str, int] | None = None, *, key: str = "", name: str = "Ada", note: str = "") -> Any:
        wish = Wish(plain_lines(lines or {"classic-smash": 1}), name=name, note=note)
        return orders.place(key=key or str(uuid.uuid4()), wish=wish)[0]

    return _place


@pytest.fixture
def kitchen(settings: Any) -> Any:
    """The test client works on the kitchen's own network."""
    settings.SHOP_KITCHEN_NETWORKS = ["127.0.0.0/8"]
    return settings


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frontend, built once."""
    return build_frontend(tmp_path_factory.mktemp("frontend") / "out")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    return migrated_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def shop(tmp_path: Path, database: Path, built: Path) -> Iterator[Shop]:
    """A shop of its own, served for real."""
    with Shop(tmp_path / "shop", database=database, built=built) as served:
        yield served
