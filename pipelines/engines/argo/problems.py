"""What is wrong with a document that Argo's controller would refuse, or that would never run: said before it is
submitted, with the place. What stands in `{{...}}` is judged only where it names a task."""

from __future__ import annotations

import re
from collections.abc import Collection

from pipelines.definition.depends import parse_depends
from pipelines.definition.durations import cron_problem
from pipelines.definition.grammar import ExpressionError
from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown

from . import inputs, references
from .calls import Call, call, fan, hooks_of
from .expand import MAX_TASKS, entrypoint_of, in_order, tasks_of
from .reading import DOES, LONGEST_NAME, Document, Template, is_nothing, items, template, text
from .resolve import Library

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_PLAIN_CRON = re.compile(r"[0-9*/, -]+")
_RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
_OF_ITEMS = ("AnySucceeded", "AllFailed")
_RETRY = ("Always", "OnFailure", "OnError", "OnTransientError")
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_FANS = ("withItems", "withParam", "withSequence")


def check(document: Document, library: Library) -> None:
    """Report into the file of the document."""
    _Check(document, library).run()


class _Check:
    def __init__(self, document: Document, library: Library) -> None:
        self.document, self.library = document, library
        self.report: Report = document.file.report

    def add(self, at: Node | tuple[int, int], code: str, message: str, hint: str = "") -> None:
        self.report.add(at, code, message, hint)

    def run(self) -> None:
        spec = self.document.spec
        self.only_one()
        if self.document.kind == "CronWorkflow":
            self.schedule(self.document.node.get("spec") or spec)
        lender = self.borrowed(spec)
        self.entrypoint(spec, lender)
        for hook in hooks_of(spec):
            self.hook(hook.call, hook.expression, lender or self.document)
        if not self.document.is_library:
            # Who submits a library, or calls it, brings parameters of their own.
            inputs.check_parameters(spec, self.parameters(lender)["parameters"], self.report)
        for each in self.document.templates.values():
            self.template(each)

    def parameters(self, lender: Document | None) -> dict[str, set[str]]:
        """The names of the workflow's own arguments, and of those that it takes over."""
        specs = [self.document.spec, *([lender.spec] if lender else [])]
        return {
            what: {text(item, "name") for spec in specs for item in items(spec.get("arguments"), what)}
            for what in inputs.WHAT
        }

    # --- the whole ----------------------------------------------------------------------------------------

    def only_one(self) -> None:
        """Who calls a library has to know which."""
        one = self.document
        first = self.library.first(one)
        if one.is_library and first is not one:
            message = f"there are two of {one.title}, the first in {first.file.name}:{first.node.line}"
            self.add(one.node.get("metadata") or one.node, "duplicate", message, "give one of them")

    def schedule(self, spec: Node) -> None:
        one, several = spec.get("schedule"), items(spec, "schedules")
        if one is None and not several:
            self.add(spec, "missing-key", 'a CronWorkflow needs the key "schedules" (or "schedule")')
        elif one is not None and several:
            self.add(one, "bad-value", "a CronWorkflow has either schedule or schedules", "keep schedules")
        for node in filter(None, [one, *several]):
            # Argo also knows @daily, names of days and time zones; only what is plain is judged.
            problem = cron_problem(node.text) if _PLAIN_CRON.fullmatch(node.text) else ""
            if problem:
                self.add(node, "bad-cron", f"the schedule {shown(node.text)} {problem}")
        self.choice(spec.get("concurrencyPolicy"), _CONCURRENCY)

    def choice(self, node: Node | None, known: Collection[str]) -> None:
        if node is not None and not is_nothing(node) and node.text not in known and "{{" not in node.text:
            hint = self.report.nearest(node.text, known) or "use one of: " + ", ".join(known)
            self.add(node, "bad-value", f"expected {' or '.join(known)}, found {node.described}", hint)

    def borrowed(self, spec: Node) -> Document | None:
        """The document whose templates count here, None if it was not given."""
        ref = spec.get("workflowTemplateRef")
        if ref is None or ref.kind != "map":
            return self.document
        if (own := spec.get("templates")) is not None and items(spec, "templates"):
            self.add(own, "bad-value", "a workflow with workflowTemplateRef has no templates of its own", "drop one")
        found = self.library.lender(self.document)
        if not text(ref, "name"):
            self.add(ref, "missing-key", 'a workflowTemplateRef needs the key "name"')
        elif found is None:
            kind = "ClusterWorkflowTemplate" if text(ref, "clusterScope").lower() == "true" else "WorkflowTemplate"
            self.missing_document(ref.get("name") or ref, kind, text(ref, "name"))
        return found

    def missing_document(self, at: Node, kind: str, name: str) -> None:
        near = self.report.nearest(name, self.library.names(kind))
        hint = (
            near or f"give the file that holds it, or a cluster that has it: kubectl get {kind.lower()} {name} -o yaml"
        )
        self.add(at, "missing-document", f"there is no {kind} {shown(name)} {self.library.places}", hint)

    def entrypoint(self, spec: Node, lender: Document | None) -> None:
        if lender is None:
            return
        name = entrypoint_of(self.document, self.library)
        place = spec.get("entrypoint")
        if name:
            self.known_template(place or spec, name, lender)
            if not self.document.is_library and name in lender.templates:
                given = self.parameters(lender)
                whose = "the workflow's arguments"
                inputs.check_supplied(place or spec, given, lender.templates[name], whose, self.report)
        elif not self.document.is_library:
            self.add(place or spec, "missing-key", "the workflow does not say where it begins", 'add "entrypoint"')
        elif not self.document.templates:
            self.add(spec, "missing-key", f"this {self.document.kind} has no templates", 'add "templates"')

    def known_template(self, at: Node, name: str, scope: Document) -> None:
        if name not in scope.templates and "{{" not in name:
            self.report.unknown(at, "unknown-template", f"template of {scope.title}", name, scope.templates)

    # --- templates ----------------------------------------------------------------------------------------

    def template(self, each: Template) -> None:
        node = each.node
        if each.name and not _NAME.fullmatch(each.name):
            self.bad_name(node.get("name") or node, "template")
        does = [key for key in DOES if (body := node.get(key)) is not None and not is_nothing(body)]
        if not does:
            what = f"the template {shown(each.name)}" if each.name else "this inline template"
            self.add(node, "missing-key", f"{what} does nothing", "give it one of: " + ", ".join(DOES))
        elif len(does) > 1:
            message = f"a template does one thing, and this one has {' and '.join(does)}"
            self.add(node.get(does[1]) or node, "bad-value", message, "make two templates of it")
        if (retry := node.get("retryStrategy")) is not None:
            self.choice(retry.get("retryPolicy"), _RETRY)
        if each.name:  # an inline one may use the inputs of the template that it stands in
            inputs.check_used(node, self.report)
        if each.does == "steps":
            self.steps(each)
        elif each.does == "dag":
            self.dag(each)

    def long_name(self, node: Node) -> bool:
        if len(node.text) > LONGEST_NAME:
            self.add(node, "bad-name", f"a name has at most {LONGEST_NAME} characters", "make it shorter")
        return len(node.text) > LONGEST_NAME

    def bad_name(self, node: Node, what: str) -> None:
        near = re.sub(r"[^A-Za-z0-9-]+", "-", node.text[:LONGEST_NAME]).strip("-")
        hint = near if near else 'letters, digits and "-"'
        self.add(node, "bad-name", f"{shown(node.text)} is no name of a {what}: letters, digits and -", hint)

    def steps(self, each: Template) -> None:
        earlier: dict[str, Node] = {}
        groups = [
            [step for step in group.items if step.kind == "map"]
            for group in items(each.node, "steps")
            if group.kind == "list"
        ]
        if self.too_many(each, sum(len(group) for group in groups)):
            return
        for group in groups:
            here: dict[str, Node] = {}
            for step in group:
                self.name(step, "step", earlier | here)
                here[text(step, "name")] = step
                self.call(call(step), each.document)
                references.check(
                    step, "steps", {*earlier, text(step, "name")}.__contains__, {*earlier, *here}, self.report
                )
            earlier |= here

    def too_many(self, each: Template, count: int) -> bool:
        if count > MAX_TASKS:
            message = f"{count:,} tasks are too many, at most {MAX_TASKS:,} can be drawn"
            self.add(each.body or each.node, "too-large", message, "split the template")
        return count > MAX_TASKS

    def name(self, node: Node, what: str, taken: dict[str, Node]) -> None:
        place = node.get("name")
        if place is None or not place.text:
            self.add(node, "missing-key", f'a {what} needs the key "name"')
        elif self.long_name(place):
            return
        elif not _NAME.fullmatch(place.text):
            self.bad_name(place, what)
        elif place.text in taken:
            first = taken[place.text].line
            self.add(place, "duplicate", f"there are two of the name {shown(place.text)}, the first in line {first}")

    def dag(self, each: Template) -> None:
        nodes = [node for node in items(each.body, "tasks") if node.kind == "map"]
        if not nodes:
            self.add(each.body or each.node, "missing-key", "a dag needs at least one task", 'add "tasks"')
        if self.too_many(each, len(nodes)):
            return
        named = tasks_of(each)
        taken: dict[str, Node] = {}
        asks = any(text(node, "depends") for node in nodes)
        for node in nodes:
            self.name(node, "task", taken)
            taken.setdefault(text(node, "name"), node)
            self.call(call(node), each.document)
            self.needs(node, named, asks=asks)
        self.circle(named)
        references.check_dag(named, self.report)
        for name in text(each.body, "target").split() if "{{" not in text(each.body, "target") else ():
            if name not in named:
                self.report.unknown(
                    (each.body or each.node).get("target") or each.node, "unknown-task", "task", name, named
                )

    def needs(self, node: Node, named: dict[str, Node], *, asks: bool) -> None:
        listed, depends = node.get("dependencies"), node.get("depends")
        if asks and listed is not None and items(node, "dependencies"):
            message = "a dag uses either depends or dependencies, and this one has both"
            self.add(listed, "bad-value", message, "write depends everywhere")
        if asks and (place := node.get("continueOn")) is not None:
            self.add(
                place, "bad-value", "continueOn does not work with depends", "write depends: X.Succeeded || X.Failed"
            )
        for item in items(node, "dependencies"):
            if item.kind == "scalar" and item.text not in named:
                self.report.unknown(item, "unknown-task", "task", item.text, named)
        if depends is not None and depends.kind == "scalar" and depends.text.strip():
            self.depends(depends, named)

    def depends(self, node: Node, named: dict[str, Node]) -> None:
        try:
            expression = parse_depends(node.text)
        except ExpressionError as error:
            self.add(node.at(error.offset), "bad-depends", str(error), error.hint)
            return
        for asked in expression.asked:
            at = node.at(asked.offset)
            if asked.name not in named:
                self.report.unknown(at, "unknown-task", "task", asked.name, named)
            elif asked.result and asked.result not in _RESULTS:
                self.add(
                    at, "bad-depends", f"Argo has no result {shown(asked.result)}", "use one of: " + ", ".join(_RESULTS)
                )
            elif asked.result in _OF_ITEMS and fan(named[asked.name], {}) is None:
                message = f"{asked.result} is asked of {shown(asked.name)}, which runs once, not for each item"
                self.add(at, "bad-depends", message, "use Succeeded or Failed")

    def circle(self, named: dict[str, Node]) -> None:
        """The first circle, by the names in it."""
        waits = {name: [one for one in call(named[name]).dependencies if one in named] for name in in_order(named)}
        ended: set[str] = set()
        for name in waits:
            if not set(waits[name]) <= ended:
                path = [name]
                while (ahead := next(one for one in waits[path[-1]] if one not in ended)) not in path:
                    path.append(ahead)
                names = " → ".join([*path[path.index(ahead) :], ahead])
                self.add(named[ahead], "circle", f"these tasks wait for each other: {names}")
                return
            ended.add(name)

    # --- calls --------------------------------------------------------------------------------------------

    def call(self, one: Call, scope: Document) -> None:
        self.fans(one.node)
        ways = [key for key in ("template", "templateRef", "inline") if (n := one.node.get(key)) and not is_nothing(n)]
        if not ways:
            self.add(one.node, "missing-key", f"{shown(one.name)} calls no template", 'add "template"')
        elif len(ways) > 1:
            place = one.node.get(ways[1]) or one.node
            self.add(place, "bad-value", f"{shown(one.name)} has {' and '.join(ways)}", "keep one of them")
        else:
            self.called(one, scope)
        for hook in one.hooks():
            self.hook(hook.call, hook.expression, scope)

    def fans(self, node: Node) -> None:
        found = [key for key in _FANS if (value := node.get(key)) is not None and not is_nothing(value)]
        if len(found) > 1:
            self.add(node.get(found[1]) or node, "bad-value", f"it has {' and '.join(found)}", "keep one of them")
        sequence = node.get("withSequence")
        if sequence is not None and sequence.kind == "map":
            has = [key for key in ("count", "end") if text(sequence, key)]
            if len(has) != 1:
                what = "both count and end" if has else "neither count nor end"
                self.add(sequence, "bad-value", f"this withSequence has {what}", "give one of them")
        times = fan(node, {})
        if times and times.width is None and times.says.startswith("it"):
            at = node.get(times.by) or node
            if "{{" not in times.says:
                self.add(at, "bad-value", f"{times.by} cannot be expanded: {times.says}")

    def called(self, one: Call, scope: Document) -> None:
        if one.inline is not None:
            self.template(template(one.inline, scope))
            return
        if one.ref is not None:
            self.referenced(one, scope)
        else:
            self.known_template(one.node.get("template") or one.node, one.template, scope)
        found = self.library.of(one, scope).template
        if found is not None:
            inputs.check_supplied(one.node, one.arguments, found, "arguments", self.report)

    def referenced(self, one: Call, scope: Document) -> None:
        ref = one.ref
        if ref is None or "{{" in ref.title:
            return
        for key in ("name", "template"):
            if not text(ref.node, key):
                self.add(ref.node, "missing-key", f'a templateRef needs the key "{key}"')
                return
        document = self.library.document(ref.name, cluster=ref.cluster, namespace=scope.namespace)
        if document is None:
            kind = "ClusterWorkflowTemplate" if ref.cluster else "WorkflowTemplate"
            self.missing_document(ref.node.get("name") or ref.node, kind, ref.name)
        else:
            self.known_template(ref.node.get("template") or ref.node, ref.template, document)

    def hook(self, one: Call, expression: str, scope: Document) -> None:
        if one.name != "exit" and not expression:
            message = f"the hook {shown(one.name)} does not say when it runs; only exit runs by itself"
            self.add(one.node, "missing-key", message, 'add "expression"')
        if one.ref is None and not one.template:
            self.add(one.node, "missing-key", f"the hook {shown(one.name)} calls no template", 'add "template"')
        elif one.node.kind == "scalar":
            self.known_template(one.node, one.template, scope)
        else:
            self.called(one, scope)
