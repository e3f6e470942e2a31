"""The executor of docs/contributing/executor.md does what it says, by the protocol's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.definition import kinds
from pipelines.executors import base
from pipelines.executors.base import Log, Outcome, StageSpec, Unattended, Workplace

from .pages import ROOT

TEXT = (ROOT / "docs" / "contributing" / "executor.md").read_text()
KIND, CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[:2]


@pytest.fixture
def executor(tmp_path: Path) -> Any:
    names: dict[str, Any] = {**vars(base), "Iterator": Iterator}
    exec(CODE, names)  # noqa: S102 our own page
    return names["GreetExecutor"](Workplace(tmp_path))


def spec(name: str, **more: Any) -> StageSpec:
    return StageSpec(
        run=1, pipeline="demo", stage="hello", kind="greet", owner="dev", commit="c" * 40, with_={"name": name}, **more
    )


def test_it_greets(executor):
    said, end = executor.start(spec("Ada"), "s1-1", Unattended())
    assert (said, end.state) == (Log("Hello Ada\n"), "succeeded")
    assert executor.probe(spec("Ada"), "s1-1").state == "never_started"


def test_it_does_what_was_approved_and_nothing_else(executor):
    digest = executor.plan(spec("Ada")).digest
    assert digest == executor.plan(spec("Ada")).digest
    *_, end = executor.start(spec("Ada", approved_digest=digest), "s1-1", Unattended())
    assert end.state == "succeeded"
    (end,) = executor.start(spec("Bob", approved_digest=digest), "s1-1", Unattended())
    assert isinstance(end, Outcome)
    assert end.state == "changed"


def test_its_kind_is_declared_as_the_others_are():
    names = dict(vars(kinds))
    exec(KIND.replace("{..., ", "{"), names)  # noqa: S102 our own page
    assert names["KINDS"]["greet"].required == ("name",)


def test_the_files_that_it_names_are_there():
    named = re.findall(r"`((?:pipelines|portal|tests|docs)/[\w/.]+\.\w+)`", TEXT)
    new = {"pipelines/executors/greet.py", "tests/executors/test_greet.py"}
    assert [name for name in named if name not in new and not (ROOT / name).exists()] == []
