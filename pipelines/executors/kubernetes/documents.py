"""YAML documents of a repository, with the line of everything in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.executors.kubernetes.errors import ManifestError

Step = str | int
Path_ = tuple[Step, ...]

LARGEST = 1024 * 1024
MOST_FILES = 200


class _Loader(yaml.SafeLoader):
    """Without dates: 2026-01-01 is text for Kubernetes."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Document:
    """`file` is as people know it ("docker/k8s/backend.yaml"); `lines` has the line of each path, from 1."""

    data: Mapping[str, Any]
    file: str
    lines: Mapping[Path_, int]

    def at(self, *path: Step) -> str:
        """ "FILE:LINE" of the place, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}"

    def where(self, text: str) -> str | None:
        """ "FILE:LINE" of the first value that holds `text`."""
        for path, value in walk(self.data):
            if text in value:
                return self.at(*path)
        return None


def walk(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, (*path, index))


def read_folder(folder: Path, shown: str) -> list[Document]:
    """The documents in the `*.yaml` and `*.yml` of a folder, not of its subfolders, in the order of their names.

    `shown` is what the folder is called in messages. Raises ManifestError.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    if len(files) > MOST_FILES:
        raise ManifestError([f"{shown}: {len(files)} files; at most {MOST_FILES} are possible."])
    documents: list[Document] = []
    problems: list[str] = []
    for path in files:
        try:
            documents += _read(path, f"{shown}/{path.name}")
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return documents


def _read(path: Path, shown: str) -> list[Document]:
    # A link could lead out of the repository, and a message could then quote what it leads to.
    if path.is_symlink() or not path.is_file():
        raise ManifestError([f"{shown}:1: a manifest has to be a plain file; this is a link or something else."])
    data = path.read_bytes()
    if len(data) > LARGEST:
        raise ManifestError([f"{shown}:1: {len(data)} bytes; at most {LARGEST} are possible."])
    try:
        loader = _Loader(data.decode())
    except (UnicodeDecodeError, yaml.YAMLError):
        raise ManifestError([f"{shown}:1: it is no UTF-8 text."]) from None
    try:
        return list(_documents(loader, shown))
    except RecursionError:
        raise ManifestError([f"{shown}:1: it is nested too deeply."]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ManifestError([f"{shown}:{line}: it is no YAML: {error.problem}."]) from None
    except yaml.YAMLError as error:
        raise ManifestError([f"{shown}:1: it is no YAML: {error}."]) from None
    finally:
        loader.dispose()


def _documents(loader: _Loader, shown: str) -> Iterator[Document]:
    while loader.check_node():
        node = loader.get_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            continue
        lines: dict[Path_, int] = {}
        _note(node, (), lines, shown)
        value = loader.construct_document(node)
        if not isinstance(value, dict):
            raise ManifestError([f"{shown}:{node.start_mark.line + 1}: expected an object, found {value!r:.60}."])
        yield Document(value, shown, lines)


def _note(node: yaml.Node, path: Path_, lines: dict[Path_, int], shown: str) -> None:
    if path in lines:
        raise ManifestError([f"{shown}:{node.start_mark.line + 1}: {path[-1]} is there twice."])
    lines[path] = node.start_mark.line + 1
    # Aliases can blow a small file up without end.
    if len(lines) > 50_000:
        raise ManifestError([f"{shown}:1: it has more than 50,000 values."])
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _note(value, (*path, str(key.value)), lines, shown)
            lines[(*path, str(key.value))] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note(value, (*path, index), lines, shown)
