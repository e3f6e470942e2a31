"""One stage of the file: template, placeholders, keys, and one `StageDef` for each combination of its
matrix."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from pipelines.definition.depends import parse_depends
from pipelines.definition.durations import parse_duration
from pipelines.definition.grammar import ExpressionError
from pipelines.definition.graph import Entry
from pipelines.definition.kinds import Kind
from pipelines.definition.loader import Node
from pipelines.definition.matrix import Combination, combinations_of
from pipelines.definition.model import Gate, GateTeam, Parameter, Retry, StageDef
from pipelines.definition.placeholders import DOTTED, PLACEHOLDER, RUN_FIELDS, fill
from pipelines.definition.report import Report, shown
from pipelines.definition.schema import MAX_NAME, MAX_STAGES, STAGE
from pipelines.definition.shapes import BAD, has_placeholder
from pipelines.definition.templates import (
    Budget,
    Template,
    check_placeholders,
    expand,
    fill_inputs,
    substitute,
)
from pipelines.definition.when import parse_when

_NO_INPUTS: tuple[str, ...] = ()
_MAX_ENVIRONMENTS = 256


@dataclass(slots=True)
class StageReader:
    """Reads the nodes of stages, one after the other. A shape, so that a list of stages can be read by it."""

    report: Report
    teams: Collection[str] | None
    kinds: Mapping[str, Kind]
    parameters: Mapping[str, Parameter]
    environments: Collection[str]
    templates: Mapping[str, Template]
    budget: Budget
    placeholders: bool
    on_exit: bool = False
    count: int = 0
    expected: str = "a stage"

    def json(self) -> dict[str, Any]:
        return STAGE.json()

    def read(self, node: Node, report: Report) -> Entry | Any:
        own = STAGE.fields(node, report, partial=True)
        if own is None:
            return BAD
        node = self._with_template(node, own.get("use"))
        # What an unknown template would have given is not missing.
        lost = "use" in own and own["use"].text not in self.templates
        fields = STAGE.fields(node, report, partial=lost)
        if fields is None or "name" not in fields:
            return BAD
        reader = _OneStage(self, node, fields)
        return reader.entry()

    def _with_template(self, node: Node, use: Node | None) -> Node:
        """The stage with its template's keys and its inputs, and without `use`; checks its placeholders."""
        template = self.templates.get(use.text) if use else None
        if use and template is None:
            self.report.unknown(use, "unknown-template", "template", use.text, self.templates)
        elif use is None and (inputs := node.get("inputs")) is not None:
            self.report.add(inputs, "bad-value", "inputs belong to a template, and none is used", "add use")
        merged = expand(node, template, self.budget) if template else node
        if self.placeholders:
            self._check_placeholders(merged, tuple(template.inputs) if template else _NO_INPUTS)
        return fill_inputs(merged, template, self.report, self.budget) if template else merged

    def _check_placeholders(self, node: Node, inputs: Sequence[str]) -> None:
        matrix = node.get("matrix")
        axes = [key.text for key, _ in matrix.items] if matrix is not None and matrix.kind == "map" else []
        scopes = {"parameters": self.parameters, "run": RUN_FIELDS, "matrix": axes, "inputs": inputs}
        for key, value in node.items:
            outside = key.text == "inputs"
            check_placeholders(value, {**scopes, "inputs": _NO_INPUTS} if outside else scopes, self.report)

    def check_team(self, node: Node | None, team: str) -> None:
        if node is not None and self.teams is not None and team not in self.teams:
            self.report.unknown(node, "unknown-team", "team", team, self.teams)


@dataclass(slots=True)
class _OneStage:
    """The keys of one stage, its template filled in."""

    reader: StageReader
    node: Node
    fields: Mapping[str, Node]

    @property
    def report(self) -> Report:
        return self.reader.report

    def entry(self) -> Entry:
        name = self.value("name") or self.fields["name"].text
        entry = Entry(name, self.node, self.reader.on_exit, matrix="matrix" in self.fields)
        depends = self.depends(entry)
        base = StageDef(
            name=name,
            kind=self.kind(),
            owner=self.owner(),
            group=name,
            title=self.value("title") or "",
            depends=depends,
            needs=tuple(dict.fromkeys(needed for needed, _ in entry.needs)),
            gate=self.gate(),
            retry=self.retry(),
            timeout=self.duration(self.fields.get("timeout")),
            on_exit=self.reader.on_exit,
        )
        self.expand(entry, base)
        return entry

    def value(self, key: str) -> Any:
        node = self.fields.get(key)
        value = STAGE.keys[key].shape.read(node, self.report) if node is not None else None
        return None if value is BAD else value

    # --- who and what ---------------------------------------------------------------------------------------

    def kind(self) -> str:
        kind = self.value("kind") or ""
        if kind and kind not in self.reader.kinds:
            self.report.unknown(self.fields["kind"], "unknown-kind", "kind", kind, self.reader.kinds)
        if kind == "gate" and "gate" not in self.fields:
            message = 'a stage of the kind gate needs the key "gate"'
            self.report.add(self.node, "missing-key", message, "gate: TEAM")
        known = self.reader.kinds.get(kind)
        if known and known.environment and "environment" not in self.fields:
            message = f'a stage of the kind {kind} needs the key "environment"'
            self.report.add(self.node, "missing-key", message, "name one of the file's environments")
        return kind

    def owner(self) -> str:
        owner = self.value("owner") or ""
        if owner:
            self.reader.check_team(self.fields["owner"], owner)
        return owner

    def gate(self) -> Gate | None:
        node = self.fields.get("gate")
        if node is None:
            return None
        if self.reader.on_exit:
            message = "a stage that runs on exit cannot have a gate: it has to run however the others ended"
            self.report.add(node, "bad-value", message, "drop the gate")
        value = self.value("gate")
        if isinstance(value, str):
            self.reader.check_team(node, value)
            return Gate((GateTeam(value),))
        if value is None:
            return None
        return Gate(
            teams=self.gate_teams(node.get("teams"), value.get("teams")),
            self_approval=value.get("self_approval", False),
            reason_required=value.get("reason_required", False),
            expires=self.duration(node.get("expires") if "expires" in value else None),
        )

    def gate_teams(self, node: Node | None, value: Any) -> tuple[GateTeam, ...]:
        if node is None or value is None:
            return ()
        for item in node.items:
            place = item if isinstance(item, Node) else item[0]
            self.reader.check_team(place, place.text)
        quorums = value if isinstance(value, dict) else dict.fromkeys(value, 1)
        return tuple(GateTeam(team, quorum) for team, quorum in quorums.items())

    # --- when and how often ---------------------------------------------------------------------------------

    def duration(self, node: Node | None) -> float | None:
        """Seconds of a node that is a duration; what is not has been, or is now, reported."""
        if node is None or STAGE.keys["timeout"].shape.read(node, self.report) is BAD:
            return None
        return parse_duration(node.text)

    def retry(self) -> Retry:
        node, value = self.fields.get("retry"), self.value("retry")
        if node is None or value is None:
            return Retry()
        if not isinstance(value, dict):
            return Retry(limit=value)
        durations = {
            field: seconds
            for field, key in (("backoff", "backoff"), ("maximum", "max"))
            if key in value and (seconds := self.duration(node.get(key))) is not None
        }
        on = value.get("on", "error")
        states = frozenset([on] if isinstance(on, str) else on)
        return Retry(limit=value.get("limit", 0), factor=float(value.get("factor", 2)), on=states, **durations)

    def depends(self, entry: Entry) -> str:
        """The normalized expression; the names in it, with their places, go into the entry."""
        needs, depends = self.fields.get("needs"), self.fields.get("depends")
        if needs is not None and depends is not None:
            message = "a stage has either needs or depends, and here it has both"
            self.report.add(depends, "bad-value", message, "write all of it in depends")
        if depends is not None:
            return self.expression(depends, entry)
        names = self.value("needs")
        if needs is None or not names:
            return ""
        seen: set[str] = set()
        for item in needs.items:
            if item.text in names and item.text not in seen:
                entry.needs.append((item.text, (item.line, item.column)))
            seen.add(item.text)
        return " && ".join(name for name, _ in entry.needs)

    def expression(self, node: Node, entry: Entry) -> str:
        text = self.value("depends")
        if text is None:
            return ""
        try:
            expression = parse_depends(text)
        except ExpressionError as error:
            self.report.add(node.at(error.offset), "bad-expression", str(error), error.hint)
            return ""
        entry.needs = [(asked.name, node.at(asked.offset)) for asked in expression.asked]
        entry.expression = expression
        entry.depends_at = node
        return str(expression)

    # --- for each combination -------------------------------------------------------------------------------

    def expand(self, entry: Entry, base: StageDef) -> None:
        """Fill the entry's `stages`: one for each combination, or the stage itself without a matrix."""
        matrix = self.fields.get("matrix")
        found: list[Combination] = combinations_of(matrix, self.report) if matrix is not None else [{}]
        before = self.reader.count
        self.reader.count += len(found)
        if self.reader.count > MAX_STAGES:
            if before <= MAX_STAGES:
                message = f"with this stage the pipeline has more than {MAX_STAGES:,} stages"
                self.report.add(self.node, "matrix-explosion", message, "use fewer stages or smaller matrices")
            return
        varying = {key: self.fields[key] for key in ("title", "with", "when", "environment") if key in self.fields}
        entry.stages = [self.combined(entry, base, varying, combination) for combination in found]

    def combined(self, entry: Entry, base: StageDef, varying: Mapping[str, Node], one: Combination) -> StageDef:
        nodes = varying
        if one:
            nodes = {
                key: substitute(node, "matrix", one, self.report, self.reader.budget) for key, node in varying.items()
            }
            values = {axis: node.text for axis, node in one.items()}
            name = f"{base.name}[{','.join(values.values())}]"
            if len(name) > MAX_NAME:
                message = f"the matrix makes a stage of the name {shown(name)}, which has {len(name)} characters"
                self.report.add(next(iter(one.values())), "bad-value", message, f"at most {MAX_NAME}: shorten values")
            base = replace(
                base,
                name=name,
                title=nodes["title"].text if "title" in nodes else "",
                matrix=values,
            )
        return replace(
            base,
            when=self.when(nodes.get("when"), entry),
            environment=self.environment(nodes.get("environment")),
            with_=self.settings(entry, base.kind, nodes.get("with")),
        )

    def settings(self, entry: Entry, kind: str, node: Node | None) -> Mapping[str, Any]:
        known = self.reader.kinds.get(kind)
        if node is None:
            if known and known.required:
                message = f'a stage of the kind {kind} needs the key "with"'
                self.report.add(self.node, "missing-key", message, "with at least: " + ", ".join(known.required))
            return {}
        if known is None:
            return {}
        value = known.with_.read(node, self.report)
        entry.mentions += self.report.mentioned()
        return {} if value is BAD else value

    def when(self, node: Node | None, entry: Entry) -> str:
        text: Any = STAGE.keys["when"].shape.read(node, self.report) if node is not None else BAD
        if node is None or text is BAD:
            return ""
        try:
            condition = parse_when(text)
        except ExpressionError as error:
            self.report.add(node.at(error.offset), "bad-expression", str(error), error.hint)
            return ""
        for name in condition.names:
            place = node.at(name.offset + len(name.scope) + 1)
            if name.scope == "parameters" and name.name not in self.reader.parameters:
                self.report.unknown(place, "unknown-placeholder", "parameter", name.name, self.reader.parameters)
            elif name.scope == "stages":
                entry.asks.append((name.name, place))
        return text

    def environment(self, node: Node | None) -> str | None:
        text: Any = STAGE.keys["environment"].shape.read(node, self.report) if node is not None else BAD
        if node is None or text is BAD:
            return None
        for name in self.environments_of(node):
            if name not in self.reader.environments:
                known = self.reader.environments
                self.report.unknown(node, "unknown-environment", "environment", name, known)
        return text

    def environments_of(self, node: Node) -> list[str]:
        """The names that an environment with placeholders can become: their parameters have to have
        choices."""
        if not has_placeholder(node):
            return [node.text]
        used = [dotted for match in PLACEHOLDER.finditer(node.text) if (dotted := DOTTED.fullmatch(match[1]))]
        names = list(dict.fromkeys(dotted[2] for dotted in used if dotted[1] == "parameters"))
        known = [self.reader.parameters[name] for name in names if name in self.reader.parameters]
        if any(dotted[1] == "run" for dotted in used) or any(not parameter.choices for parameter in known):
            message = "the environment may depend only on parameters that have choices"
            self.report.add(node, "bad-placeholder", message, "who owns it has to be known before the run")
            return []
        if len(known) < len(names):
            return []
        if (count := prod(len(parameter.choices) for parameter in known)) > _MAX_ENVIRONMENTS:
            message = f"the environment can become {count:,} names, at most {_MAX_ENVIRONMENTS} are allowed"
            self.report.add(node, "bad-placeholder", message, "use fewer parameters, or fewer choices")
            return []
        chosen = [dict(zip(names, values, strict=True)) for values in product(*(p.choices for p in known))]
        return [_chosen(node.text, values) for values in chosen]


def _chosen(text: str, values: Mapping[str, str]) -> str:
    return fill(text, lambda _, name: values.get(name, ""))
