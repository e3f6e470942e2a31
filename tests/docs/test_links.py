"""Links lead somewhere, every page is found from the README, and no page tells of a machine that only we know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import PAGES, README, ROOT, anchors, links, name_of

IMAGES = sorted((ROOT / "docs" / "images").iterdir())
PRIVATE = re.compile(r"/(?:root|work|tmp|home)/\w+")


def targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    """(link, file, anchor) of the links that stay in the project."""
    for link in links(page):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield link, ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("doc", PAGES, ids=name_of)
def test_links_lead_somewhere(doc):
    broken = []
    for link, file, anchor in targets(doc):
        if not file.is_relative_to(ROOT) or not file.is_file() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_every_page_and_picture_is_found_from_the_readme():
    seen, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        if page.suffix == ".md":
            waiting += [file for _, file, _ in targets(page)]
    assert [name_of(page) for page in [*PAGES, *IMAGES] if page not in seen] == []


@pytest.mark.parametrize("doc", PAGES, ids=name_of)
def test_no_page_names_a_private_path(doc):
    assert PRIVATE.findall(doc.read_text()) == []


@pytest.mark.parametrize("image", IMAGES, ids=name_of)
def test_pictures_are_small(image):
    assert image.stat().st_size <= 300_000
