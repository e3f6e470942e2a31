"""The whole graph of a workflow before it runs, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.definition.loader import Node

Role = Literal["", "hook", "exit"]

UNTIL_RESUMED = "until somebody resumes it"  # how long a suspend without a duration lasts


@dataclass(frozen=True, slots=True)
class Fan:
    """A task that runs once for each item. `width` is None where only the run will know; `says` says why."""

    by: Literal["withItems", "withSequence", "withParam"]
    width: int | None
    says: str


@dataclass(slots=True)
class Task:
    """One box: a task or step, or a dag or steps as a whole, before what is inside it.

    `path` is the names from the entrypoint down, unique in the graph. `template` is what it runs: the bare name of a
    template of the workflow itself, DOCUMENT/NAME of another document's, "" inline. `does` is the template's kind, ""
    where the template is not known. `needs` are positions of earlier tasks, `within` that of the dag or steps that
    it stands in. `loops_to` is the position of the task that calls the same template further up: nothing is drawn
    inside, as it is what stands there. `unknown` are sentences: what only the run will know.
    """

    position: int
    path: str
    name: str
    template: str
    does: str
    file: str
    line: int
    column: int
    within: int | None = None
    needs: frozenset[int] = frozenset()
    condition: str = ""
    when: str = ""
    fan: Fan | None = None
    role: Role = ""
    on_exit: bool = False
    expression: str = ""
    daemon: bool = False
    suspend: str = ""
    retries: str = ""
    never: str = ""
    loops_to: int | None = None
    unknown: list[str] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return self.path.count("/")

    @property
    def inside(self) -> bool:
        """Whether it stands for a graph of its own."""
        return self.does in ("steps", "dag")


@dataclass(slots=True)
class Graph:
    """`starts` says what makes it run, in words; "" for a workflow, which runs when it is submitted. `templates` has
    what each task runs, by its position, as it was read; not of those whose template is not known."""

    kind: str
    name: str
    file: str
    line: int
    starts: str = ""
    tasks: list[Task] = field(default_factory=list)
    templates: dict[int, Node] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def unknown(self) -> list[Task]:
        return [task for task in self.tasks if task.unknown]
