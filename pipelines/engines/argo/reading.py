"""Files to the documents in them: Workflow, WorkflowTemplate, ClusterWorkflowTemplate, CronWorkflow.

Nodes keep their line and column, so that everything later can say where. Nothing here needs a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipelines.definition.loader import Node, load_all
from pipelines.definition.report import Report, shown

from . import fields

KINDS = ("Workflow", "CronWorkflow", "WorkflowTemplate", "ClusterWorkflowTemplate")
GROUP = "argoproj.io/"
MAX_FILES, MAX_TOTAL = 500, 8 * 1024 * 1024
MAX_DOCUMENTS = 1000
LONGEST_NAME = 253  # characters; Kubernetes' own limit
# What a template does, by the key that says it.
DOES = ("container", "containerSet", "steps", "script", "resource", "dag", "suspend", "data", "http", "plugin")


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was given; `name` is what people call it."""

    name: str
    text: bytes


@dataclass(eq=False, slots=True)
class File:
    """A file that was read. `passed_over` says which documents are something else, each with its line."""

    name: str
    text: bytes = b""
    report: Report = field(default_factory=Report)
    documents: list[Document] = field(default_factory=list)
    passed_over: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Template:
    """`does` is the first key of DOES that it has, "" if it has none. An inline one has the name ""."""

    name: str
    does: str
    node: Node
    document: Document

    @property
    def body(self) -> Node | None:
        return self.node.get(self.does) if self.does else None

    @property
    def title(self) -> str:
        """What people call it from outside of its document; templates of a workflow itself have their bare name."""
        library = self.document.kind in ("WorkflowTemplate", "ClusterWorkflowTemplate")
        return f"{self.document.name}/{self.name}" if library and self.name else self.name


@dataclass(eq=False, slots=True)
class Document:
    """`name` is what `metadata` says, the beginning of generated names included. `spec` is the workflow's own spec,
    of a CronWorkflow that of the workflows that it makes."""

    kind: str
    name: str
    namespace: str
    node: Node
    spec: Node
    file: File
    templates: dict[str, Template] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_library(self) -> bool:
        return self.kind in ("WorkflowTemplate", "ClusterWorkflowTemplate")


def read(sources: Sequence[Source]) -> list[File]:
    """All files with what is wrong with them in their reports. Never raises for what they hold."""
    files = []
    total = 0
    for number, source in enumerate(sources):
        file = File(source.name, source.text)
        files.append(file)
        total += len(source.text)
        if number >= MAX_FILES:
            file.report.add((1, 1), "too-large", f"more than {MAX_FILES} files were given", "import fewer at once")
        elif total > MAX_TOTAL:
            message = f"this file and those before it are larger than {MAX_TOTAL // 2**20} MiB"
            file.report.add((1, 1), "too-large", message, "import fewer at once")
        else:
            _read(file)
    return files


def template(node: Node, document: Document) -> Template:
    does = next((key for key in DOES if (body := node.get(key)) and not is_nothing(body)), "")
    return Template(label(node, "name"), does, node, document)


def is_nothing(node: Node) -> bool:
    return node.kind == "scalar" and node.value is None


def text(node: Node | None, key: str) -> str:
    """The value at `key` as it is written; "" for anything but one value."""
    found = node.get(key) if node else None
    return found.text if found and found.kind == "scalar" and found.value is not None else ""


def label(node: Node | None, key: str) -> str:
    """A name, cut where no name would go on: it is repeated in the path of everything inside."""
    return text(node, key)[:LONGEST_NAME]


def items(node: Node | None, key: str) -> list[Node]:
    """The list at `key`; empty for anything else."""
    found = node.get(key) if node else None
    return found.items if found and found.kind == "list" else []


def pairs(node: Node | None, key: str) -> Iterator[tuple[Node, Node]]:
    """The mapping at `key`; empty for anything else."""
    found = node.get(key) if node else None
    yield from found.items if found and found.kind == "map" else ()


def _read(file: File) -> None:
    nodes = load_all(file.text, file.report)
    for node in nodes[:MAX_DOCUMENTS]:
        for one in _unpacked(node):
            _document(one, file)
    if len(nodes) > MAX_DOCUMENTS:
        message = f"the file has more than {MAX_DOCUMENTS:,} documents"
        file.report.add(nodes[MAX_DOCUMENTS], "too-large", message, "import fewer at once")
    if nodes and not file.documents and not file.report:
        line, what = file.passed_over[0]
        message = f"nothing here can be drawn: {what}"
        file.report.add((line, 1), "other-kind", message, "expected " + ", ".join(KINDS[:-1]) + f" or {KINDS[-1]}")


def _unpacked(node: Node) -> list[Node]:
    """What `kubectl get -o yaml` writes for several objects is one List of them."""
    return [item for item in items(node, "items") if item.kind == "map"] if text(node, "kind") == "List" else [node]


def _document(node: Node, file: File) -> None:
    if node.kind != "map":
        file.report.add(node, "wrong-type", f"expected a Kubernetes object, found {node.described}")
        return
    kind, version = text(node, "kind"), text(node, "apiVersion")
    place = node.get("kind") or node
    if not kind:
        file.report.add(node, "missing-key", 'this object needs the key "kind"', f"one of {', '.join(KINDS)}")
    elif not version.startswith(GROUP) and (kind not in KINDS or version):
        file.passed_over.append((place.line, f"{kind} {_name(node)} is no part of a workflow"))
    elif kind not in KINDS:
        near = file.report.nearest(kind, KINDS)
        if near and kind != "WorkflowEventBinding":
            file.report.add(place, "unknown-kind", f"unknown kind {shown(kind)}", near)
        else:
            file.passed_over.append((place.line, f"{kind} {_name(node)} is no workflow"))
    else:
        _workflow(kind, node, file)


def _workflow(kind: str, node: Node, file: File) -> None:
    report = file.report
    if text(node, "apiVersion") != f"{GROUP}v1alpha1":
        place = node.get("apiVersion") or node
        report.add(place, "bad-value", f'{kind} needs the apiVersion "{GROUP}v1alpha1"', f"{GROUP}v1alpha1")
    metadata = node.get("metadata")
    if not _name(node):
        what = "name" if kind != "Workflow" else "name or generateName"
        report.add(metadata or node, "missing-key", f"the metadata of this {kind} needs {what}")
    spec = node.get("spec")
    if spec is None or spec.kind != "map":
        report.add(spec or node, "missing-key", f'this {kind} needs the key "spec" with a mapping')
        return
    fields.check(spec, "cron" if kind == "CronWorkflow" else "spec", report)
    inner = spec.get("workflowSpec") if kind == "CronWorkflow" else spec
    if inner is None or inner.kind != "map":
        report.add(inner or spec, "missing-key", 'a CronWorkflow\'s spec needs the key "workflowSpec" with a mapping')
        return
    document = Document(kind, _name(node) or "?", text(metadata, "namespace"), node, inner, file)
    file.documents.append(document)
    for each in items(inner, "templates"):
        _add_template(each, document)


def _add_template(node: Node, document: Document) -> None:
    if node.kind != "map":
        return
    found = template(node, document)
    report = document.file.report
    if not found.name:
        report.add(node, "missing-key", 'a template needs the key "name"')
    elif found.name in document.templates:
        first = document.templates[found.name].node.line
        message = f"there are two templates {shown(found.name)}, the first in line {first}"
        report.add(node.get("name") or node, "duplicate", message)
    else:
        document.templates[found.name] = found


def _name(node: Node) -> str:
    metadata = node.get("metadata")
    return label(metadata, "name") or label(metadata, "generateName")
