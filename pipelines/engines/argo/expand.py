"""From a document to its whole graph: every template is drawn where it is called, so that what runs stands there.

A template that calls itself, directly or through others, is drawn once: the inner call is a box that leads back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.definition.loader import Node

from .calls import Call, Hook, call, fan, hooks_of, short
from .model import UNTIL_RESUMED, Graph, Task
from .reading import Document, Template, items, label, text
from .resolve import Library

MAX_TASKS, MAX_EDGES, MAX_DEPTH = 2000, 20_000, 50
_MAKES_WORKFLOW = re.compile(r"^kind:\s*[\"']?(Workflow|CronWorkflow)\b", re.MULTILINE)


class TooLargeError(Exception):
    """The graph has more than can be drawn. `call` is where that was reached, in `document`."""

    def __init__(self, message: str, at: Node, document: Document) -> None:
        super().__init__(message)
        self.at = at
        self.document = document


@dataclass(frozen=True, slots=True)
class _Where:
    """What a call is drawn with: `scope` lends the templates that it names without a document, `written` is the
    document that it stands in, where that is another one."""

    scope: Document
    path: str
    needs: frozenset[int] = frozenset()
    within: int | None = None
    on_exit: bool = False
    never: str = ""
    written: Document | None = None


def graph_of(document: Document, library: Library) -> Graph:
    """All tasks of it, each behind those that it needs. Raises TooLargeError."""
    kind = document.node.get("kind") or document.node
    graph = Graph(document.kind, document.name, document.file.name, kind.line, _starts(document))
    _Expansion(graph, document, library).draw()
    return graph


def _starts(document: Document) -> str:
    if document.kind == "CronWorkflow":
        spec = document.node.get("spec")
        schedules = [text(spec, "schedule"), *(item.text for item in items(spec, "schedules"))]
        zone = text(spec, "timezone")
        return "by schedule: " + ", ".join(filter(None, schedules)) + (f" ({zone})" if zone else "")
    return "when another workflow calls it, or when it is submitted" if document.is_library else ""


def entrypoint_of(document: Document, library: Library) -> str:
    """Its own, else that of the document whose templates it takes."""
    lender = library.lender(document)
    return label(document.spec, "entrypoint") or (label(lender.spec, "entrypoint") if lender else "")


def roots_of(document: Document) -> list[str]:
    """The templates that no other template of the document calls; where all call each other, the first."""
    called = {
        one.template
        for name, each in document.templates.items()
        for one in _calls_in(each.node)
        if one.template != name
    }
    found = [name for name in document.templates if name not in called]
    return found or list(document.templates)[:1]


def _calls_in(node: Node) -> Iterable[Call]:
    for group in items(node, "steps"):
        for step in group.items if group.kind == "list" else ():
            yield from _with_hooks(step)
    for task in items(node.get("dag"), "tasks"):
        yield from _with_hooks(task)


def _with_hooks(node: Node) -> Iterable[Call]:
    found = call(node)
    yield found
    yield from (hook.call for hook in found.hooks())
    if found.inline is not None:
        yield from _calls_in(found.inline)


class _Expansion:
    def __init__(self, graph: Graph, document: Document, library: Library) -> None:
        self.graph, self.document, self.library = graph, document, library
        self.lender = library.lender(document)
        self.given = _given(self.lender) | _given(document)
        self.edges = 0
        self.open: dict[tuple[int, str], int] = {}
        self.paths: set[str] = set()

    def draw(self) -> None:
        entrypoint = entrypoint_of(self.document, self.library)
        scope = self.lender or self.document
        if self.lender is None:
            place = self.document.spec.get("workflowTemplateRef") or self.document.spec
            name = entrypoint or label(place, "name")
            self.call(Call(place, name, name), _Where(self.document, name))
        for name in [entrypoint] if entrypoint else roots_of(scope):
            if self.lender is not None:
                place = self.document.spec.get("entrypoint") or self._place_of(name, scope)
                self.call(Call(place, name, name), _Where(scope, name, written=self.document))
        self._hooks_of_the_whole(scope)

    def _place_of(self, name: str, scope: Document) -> Node:
        found = scope.templates.get(name) if scope is self.document else None
        return found.node if found else self.document.spec

    def _hooks_of_the_whole(self, scope: Document) -> None:
        """What runs beside the whole workflow, or at its end whatever happened."""
        own = hooks_of(self.document.spec)
        lent = hooks_of(scope.spec) if scope is not self.document else []
        hooks = {hook.call.name: (hook, scope) for hook in lent}
        hooks |= {hook.call.name: (hook, self.document) for hook in own}
        for name, (hook, written) in hooks.items():
            at_end = not hook.expression
            needs = frozenset() if at_end else frozenset({0} if self.graph.tasks else ())
            self._hook(hook, _Where(scope, name, needs, on_exit=at_end, written=written))

    # --- one call -----------------------------------------------------------------------------------------

    def call(self, one: Call, where: _Where, *, role: str = "", expression: str = "") -> frozenset[int]:
        """Draw it; the positions of what has to end before whatever comes next may start."""
        found = self.library.of(one, where.scope)
        task = self._task(one, found.template, where)
        task.role, task.expression = role, expression  # type: ignore[assignment]
        self._say_what_is_unknown(task, one, found.why)
        exits = frozenset({task.position})
        if found.template is not None and task.inside:
            exits = self._inside(task, found.template, one) or exits
        for hook in one.hooks():
            name = hook.call.name
            at_end = not hook.expression
            needs = exits if at_end else frozenset({task.position})
            inner = replace(where, path=f"{where.path}:{name}", needs=needs, never=task.never)
            ended = self._hook(hook, inner)
            exits = ended if at_end else exits
        return exits

    def _hook(self, hook: Hook, where: _Where) -> frozenset[int]:
        role = "hook" if hook.expression else "exit"
        return self.call(hook.call, where, role=role, expression=hook.expression)

    def _task(self, one: Call, template: Template | None, where: _Where) -> Task:
        tasks, document = self.graph.tasks, where.written or where.scope
        self.edges += len(where.needs)
        if len(tasks) >= MAX_TASKS or self.edges > MAX_EDGES:
            what = f"{MAX_TASKS:,} tasks" if len(tasks) >= MAX_TASKS else f"{MAX_EDGES:,} lines between tasks"
            message = f"the graph has more than {what}, those of templates that are called several times included"
            raise TooLargeError(message, one.node, document)
        if where.path.count("/") > MAX_DEPTH:
            raise TooLargeError(f"templates call each other more than {MAX_DEPTH} deep", one.node, document)
        times = fan(one.node, self.given)
        task = Task(
            len(tasks), self._path(where.path), one.name or one.template or "?", _title(one, template),
            template.does if template else "", document.file.name, one.node.line, one.node.column,
            within=where.within, needs=where.needs, condition=one.condition, when=one.when, fan=times,
            on_exit=where.on_exit, never=where.never or _never(one, times),
        )  # fmt: skip
        if template is not None:
            _facts(task, template)
            self.graph.templates[task.position] = template.node
        tasks.append(task)
        return task

    def _path(self, wanted: str) -> str:
        """Names that stand twice are a problem, which is reported; here each still needs a path of its own."""
        path, number = wanted, 1
        while path in self.paths:
            number += 1
            path = f"{wanted}#{number}"
        self.paths.add(path)
        return path

    def _say_what_is_unknown(self, task: Task, one: Call, why: str) -> None:
        if why == "missing":
            task.unknown.append(f"What it does: the template {task.template} was not given.")
        elif why:
            task.unknown.append(f"What it does: the name of its template, {task.template}, is filled in later.")
        if task.when and not task.never:
            task.unknown.append(f"Whether it runs: only if {task.when}.")
        if task.expression:
            task.unknown.append(f"Whether it runs: only once {task.expression}.")
        if task.fan and task.fan.width is None:
            task.unknown.append(f"How often it runs: {task.fan.says}.")

    # --- what is inside -----------------------------------------------------------------------------------

    def _inside(self, task: Task, template: Template, one: Call) -> frozenset[int]:
        key = (id(template.document), template.name or f"inline at {id(one.inline)}")
        if key in self.open:
            task.loops_to = self.open[key]
            task.unknown.append(f"How often it repeats: it calls {template.title} again, in which it stands.")
            return frozenset()
        self.open[key] = task.position
        try:
            return self._steps(task, template) if template.does == "steps" else self._dag(task, template)
        finally:
            del self.open[key]

    def _steps(self, task: Task, template: Template) -> frozenset[int]:
        before = frozenset({task.position})
        for group in items(template.node, "steps"):
            ended: frozenset[int] = frozenset()
            for step in group.items if group.kind == "list" else ():
                ended |= self._step(step, task, template, before)
            before = ended or before
        return before

    def _step(
        self, node: Node, task: Task, template: Template, needs: frozenset[int], never: str = ""
    ) -> frozenset[int]:
        if node.kind != "map":
            return frozenset()
        one = call(node)
        path = f"{task.path}/{one.name or one.template or '?'}"
        inner = _Where(template.document, path, needs, task.position, task.on_exit, task.never or never)
        return self.call(one, inner)

    def _dag(self, task: Task, template: Template) -> frozenset[int]:
        named = tasks_of(template)
        never = self._not_asked_for(task, template, named)
        ended: dict[str, frozenset[int]] = {}
        needed: set[str] = set()
        for name in in_order(named):
            wanted = [other for other in call(named[name]).dependencies if other in ended]
            needs = frozenset().union(*(ended[other] for other in wanted)) or frozenset({task.position})
            ended[name] = self._step(named[name], task, template, needs, never.get(name, ""))
            needed |= {*wanted} if name not in never else set()
        last = [positions for name, positions in ended.items() if name not in needed]
        return frozenset().union(*last)

    def _not_asked_for(self, task: Task, template: Template, named: Mapping[str, Node]) -> dict[str, str]:
        """The tasks of a dag that its target does not need, with the sentence that says so."""
        target = text(template.body, "target")
        if "{{" in target:
            filled = re.sub(
                r"\{\{\s*workflow\.parameters\.([^}\s]+)\s*\}\}",
                lambda found: self.given.get(found[1], found[0]),
                target,
            )
            by_default = f" ({short(filled)} with the values that the file gives)" if "{{" not in filled else ""
            task.unknown.append(
                f"Which of its tasks run: only those that its target needs, {short(target)}{by_default}."
            )
            return {}
        wanted, queue = set(), [name for name in target.split() if name in named]
        if not queue:
            return {}
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue += [other for other in call(named[name]).dependencies if other in named]
        return {
            name: f"the target of its dag, {short(target)}, does not need it" for name in named if name not in wanted
        }


def tasks_of(template: Template) -> dict[str, Node]:
    """The tasks of a dag by name, the first of those that share one."""
    found: dict[str, Node] = {}
    for node in items(template.body, "tasks"):
        if node.kind == "map":
            found.setdefault(text(node, "name"), node)
    return found


def in_order(named: Mapping[str, Node]) -> list[str]:
    """Each behind what it depends on, else as in the file. What stands in a circle comes last."""
    waits = {name: {other for other in call(node).dependencies if other in named} for name, node in named.items()}
    behind: dict[str, list[str]] = {}
    for name, others in waits.items():
        for other in others:
            behind.setdefault(other, []).append(name)
    found = [name for name, others in waits.items() if not others]
    for name in found:  # which grows while it is gone through
        for other in behind.get(name, ()):
            waits[other].discard(name)
            if not waits[other]:
                found.append(other)
    return [*found, *(name for name in named if waits[name])]


def _title(one: Call, template: Template | None) -> str:
    if one.ref is not None:
        return one.ref.title
    if one.inline is not None:
        return ""
    return template.title if template else one.template


def _never(one: Call, times: object) -> str:
    if getattr(times, "width", None) == 0:
        return "it runs once for each item, and there is none"
    return f"its condition is {one.when}" if one.when.strip().lower() == "false" else ""


def _facts(task: Task, template: Template) -> None:
    node = template.node
    task.daemon = text(node, "daemon").lower() == "true"
    if template.does == "suspend":
        duration = short(text(template.body, "duration"))
        task.suspend = f"for {duration}" if duration else UNTIL_RESUMED
    if (retry := node.get("retryStrategy")) is not None and retry.kind == "map":
        limit = short(text(retry, "limit"))
        task.retries = f"at most {limit} times" if limit else "without a limit"
    if template.does == "resource" and _MAKES_WORKFLOW.search(text(template.body, "manifest")):
        task.unknown.append("What is inside: it creates another workflow.")


def _given(document: Document | None) -> dict[str, str]:
    parameters = items(document.spec.get("arguments"), "parameters") if document else []
    return {text(item, "name"): text(item, "value") for item in parameters if item.get("value") is not None}
