"""Imports go one way. Each failure names the line that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("portal", "pipelines", "teams", "ordering")

# What each room may import of the others.
ALLOWED = {"portal": {"pipelines", "teams"}, "pipelines": {"teams"}, "teams": set(), "ordering": set()}
# The one line that mounts the shop, and the one setting that installs it, name it as text or here.
MOUNTS = {"portal/urls.py": {"ordering"}}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, relative ones spelled out, with the line."""
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def broken(paths: list[Path], forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    """Lines that import something below one of the forbidden modules, unless it is below an allowed one."""

    def below(module: str, roots: tuple[str, ...]) -> bool:
        return any(module == root or module.startswith(root + ".") for root in roots)

    return sorted(
        {
            f"{path.relative_to(ROOT)}:{line} imports {module}"
            for path in paths
            for line, module in imports(path)
            if below(module, forbidden) and not below(module, allowed)
        }
    )


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_below_them(room):
    forbidden = tuple(other for other in ROOMS if other != room and other not in ALLOWED[room])
    paths = [path for path in files(room) if str(path.relative_to(ROOT)) not in MOUNTS]
    assert broken(paths, forbidden) == []


def test_only_engines_import_executors():
    """Save their vocabulary (`base`), which the records of their results use."""
    paths = files("portal")
    paths += [p for p in files("pipelines") if not {"engines", "executors"} & set(p.relative_to(ROOT).parts[:2])]
    assert broken(paths, ("pipelines.executors",), ("pipelines.executors.base",)) == []


def test_executors_know_no_models():
    paths = files("pipelines/executors")
    forbidden = ("django", "pipelines.models", "pipelines.runs", "pipelines.engines", "pipelines.events")
    # What a pod runs has no Django either.
    paths += [ROOT / "pipelines/engines/work.py", *files("pipelines/engines/argo/runner")]
    forbidden = (*forbidden, "pipelines.snapshots")
    assert broken(paths, forbidden, ("pipelines.engines.work", "pipelines.engines.argo.runner")) == []


@pytest.mark.parametrize(
    "name",
    [
        "pipelines/dag.py", "pipelines/states.py", "pipelines/freezes.py", "pipelines/definition", "teams/policy.py",
        "pipelines/executors/rollout/strategy.py", "pipelines/executors/verify/rule.py", "pipelines/retention.py",
        "pipelines/performance/sketch.py", "pipelines/performance/verdict.py", "pipelines/performance/budgets.py",
        "pipelines/performance/exact.py",
    ],
)  # fmt: skip
def test_decisions_are_pure(name):
    path = ROOT / name
    assert path.exists()
    paths = [path] if path.suffix else files(name)
    assert broken(paths, ("django", "pipelines.models", "teams.models")) == []


def test_only_the_engine_moves_stages():
    """Pages, API, webhooks and the command line change a run through `pipelines.runs` alone."""
    paths = [p for p in files("portal", "pipelines/api", "pipelines/webhooks") if "cli" not in p.parts]
    inner = ("advance", "changes", "record")
    doors = (*(f"pipelines.runs.{name}" for name in inner), "pipelines.engines.local.claim")
    assert broken(paths, doors) == []


def test_docker_is_no_package():
    """A package of that name would hide the Docker SDK."""
    assert not (ROOT / "docker" / "__init__.py").exists()
