"""References between documents: `templateRef` and `workflowTemplateRef`, first among the files given, then wherever
`elsewhere` looks (a cluster)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .calls import Call
from .reading import Document, File, Source, Template, read, template, text

# Answers with the object as YAML or JSON, None if there is no such thing there; raises LookupError with a sentence.
Elsewhere = Callable[[str, str, str], Source | None]  # (kind, namespace, name)


@dataclass(frozen=True, slots=True)
class Found:
    """A template, or why there is none: "missing", or "known later" where its name has `{{...}}` in it."""

    template: Template | None
    why: str = ""


class Library:
    """Every document by what others call it. `said` holds the sentences of lookups that failed, each once.

    `submitted`: the files are for a Workflow that will look for templates where it runs and nowhere else. Then what
    `elsewhere` has counts, whatever the files say of a template of that name."""

    def __init__(self, files: Sequence[File], elsewhere: Elsewhere | None = None, *, submitted: bool = False) -> None:
        self.files = list(files)
        self.said: dict[str, None] = {}
        self._elsewhere, self._submitted = elsewhere, submitted and elsewhere is not None
        self._given = len(self.files)
        self._looked: dict[tuple[str, str, str], Document | None] = {}
        self._known: dict[tuple[str, str], list[Document]] = {}
        self._names: dict[str, set[str]] = {}
        for document in self.documents:
            self._add(document)

    @property
    def places(self) -> str:
        """Where it looks, in words."""
        return "among the files, nor on the cluster" if self._elsewhere else "among the files"

    @property
    def documents(self) -> list[Document]:
        return [document for file in self.files for document in file.documents]

    def names(self, kind: str) -> set[str]:
        """What the documents of a kind are called."""
        if kind not in self._names:
            self._names[kind] = {name for known, name in self._known if known == kind}
        return self._names[kind]

    def first(self, document: Document) -> Document:
        """The first that others would call by the same name; itself if there is no other."""
        same = self._known.get((document.kind, document.name), [document])
        return next((one for one in same if one.namespace == document.namespace), document)

    def document(self, name: str, *, cluster: bool, namespace: str, lent: bool = False) -> Document | None:
        """The WorkflowTemplate of this name, or the ClusterWorkflowTemplate. `lent`: it is written out in what is
        submitted, so nobody looks for it any more."""
        kind = "ClusterWorkflowTemplate" if cluster else "WorkflowTemplate"
        known = [one for one in self._known.get((kind, name), ()) if one.file in self.files[: self._given]]
        known = [one for one in known if cluster or not namespace or one.namespace in ("", namespace)]
        if known and (lent or not self._submitted):
            return known[0]
        found = self._look(kind, "" if cluster else namespace, name)
        if found is None and known:
            self.said[
                f"{kind} {name} is among the files, but the Workflow will look for it where it runs, and there is "
                "none. Apply it there first."
            ] = None
        return found

    def again(self) -> Library:
        """The same documents, with nowhere else to look: what was found elsewhere comes first where it counts."""
        given, found = self.files[: self._given], self.files[self._given :]
        return Library([*found, *given] if self._submitted else [*given, *found])

    def of(self, call: Call, scope: Document) -> Found:
        """What a step, task or hook calls that stands in `scope`, or in something that `scope` lent its templates."""
        if call.ref is not None:
            if "{{" in call.ref.title:
                return Found(None, "known later")
            document = self.document(call.ref.name, cluster=call.ref.cluster, namespace=scope.namespace)
            found = document.templates.get(call.ref.template) if document else None
            return Found(found, "" if found else "missing")
        if call.inline is not None:
            return Found(template(call.inline, scope))
        found = scope.templates.get(call.template)
        if found is None and "{{" in call.template:
            return Found(None, "known later")
        return Found(found, "" if found else "missing")

    def lender(self, document: Document) -> Document | None:
        """The document whose templates a workflow takes by `workflowTemplateRef`; itself where it has none."""
        ref = document.spec.get("workflowTemplateRef")
        if ref is None or ref.kind != "map":
            return document
        cluster = text(ref, "clusterScope").lower() == "true"
        return self.document(text(ref, "name"), cluster=cluster, namespace=document.namespace, lent=True)

    def _add(self, document: Document) -> None:
        self._known.setdefault((document.kind, document.name), []).append(document)

    def _look(self, kind: str, namespace: str, name: str) -> Document | None:
        key = (kind, namespace, name)
        if key not in self._looked:
            asks = self._elsewhere if name and "{{" not in name else None
            self._looked[key] = self._fetched(asks, *key) if asks else None
        return self._looked[key]

    def _fetched(self, ask: Elsewhere, kind: str, namespace: str, name: str) -> Document | None:
        try:
            source = ask(kind, namespace, name)
        except LookupError as error:
            self.said[str(error.args[0])] = None
            return None
        if source is None:
            return None
        (file,) = read([source])
        found = next((one for one in file.documents if (one.kind, one.name) == (kind, name)), None)
        if found is not None:
            self.files.append(file)
            self._add(found)
        return found
