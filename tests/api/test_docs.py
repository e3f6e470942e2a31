"""docs/api.md names every address and every command."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from pipelines.api import urls
from portal.cli.app import app

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def test_every_address_is_in_the_docs():
    for route in urls.urlpatterns:
        address = re.sub(r"^runs/<slug:pipeline>/<int:number>/stages/<path:stage>", "STAGE", str(route.pattern))
        address = re.sub(r"^runs/<slug:pipeline>/<int:number>", "RUN", address)
        pattern = re.sub(r"<\w+:\w+>", "[A-Z]+", re.escape(address).replace(r"\<", "<").replace(r"\>", ">"))
        assert re.search(f"`{pattern}`", DOCS), f"docs/api.md lacks a row for {address}"


def test_every_command_is_in_the_docs():
    group = typer.main.get_command(app)
    for name in group.commands:
        assert re.search(rf"`burger {name}\b", DOCS), f"docs/api.md lacks burger {name}"
