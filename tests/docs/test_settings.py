"""docs/operations.md knows every setting and its default, and every other variable of ours."""

from __future__ import annotations

import ast
import re

from .pages import OPERATIONS, PAGES, ROOT

TEXT = OPERATIONS.read_text()
TABLE = TEXT[TEXT.index("## Settings") : TEXT.index("Others, outside the settings")]
ROWS = dict(re.findall(r"^\| `(BURGER_\w+)` \| (.*?) \|", TABLE, re.MULTILINE))
# Of the tests and of .ci/run, no business of those who run the portal.
OF_TESTS = {"BURGER_NO_SKIPS", "BURGER_TORTURE"}


def settings() -> dict[str, ast.expr]:
    """The variables that portal/settings.py reads, with their defaults."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "portal" / "settings.py").read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and re.fullmatch(r"BURGER_\w+", str(name.value)):
                found[str(name.value)] = next(word.value for word in node.keywords if word.arg == "default")
    return found


def as_text(value: object) -> str:
    """A default as the table shows it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`{','.join(value)}`" if value else "none"
    return f"`{value}`"


def test_the_table_is_complete():
    assert set(ROWS) == set(settings()), "bring the table under Settings in docs/operations.md up to date"


def test_the_defaults_are_right():
    wrong = {}
    for name, default in settings().items():
        try:
            value = ast.literal_eval(default)
        except ValueError:  # computed; the table says how
            continue
        if value != "" and as_text(value) != ROWS[name]:
            wrong[name] = as_text(value)
    assert wrong == {}, f"docs/operations.md has other defaults than portal/settings.py: {wrong}"


def test_every_variable_is_explained_somewhere():
    sources = [
        path for room in ("portal", "pipelines", "teams", "ordering", "docker") for path in (ROOT / room).rglob("*.py")
    ]
    used = {name for path in sources for name in re.findall(r"\bBURGER_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())}
    explained = "".join(page.read_text() for page in PAGES)
    missing = sorted(used - OF_TESTS - set(re.findall(r"\bBURGER_[A-Z]+(?:_[A-Z]+)*\b", explained)) - {"BURGER_SECRET"})
    assert missing == [], f"explain these in docs/operations.md: {missing}"
