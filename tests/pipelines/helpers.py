"""Starting runs from a few lines of YAML, and reading how they stand."""

from __future__ import annotations

import textwrap
from typing import Any

from pipelines import runs
from pipelines.models import Pipeline, Run, Stage
from pipelines.runs.start import start

COMMIT = "c0ffee" + "0" * 34


def begin(pipeline: Pipeline, text: str, *, ref: str = "refs/heads/main", commit: str = COMMIT, **push: Any) -> Run:
    """Start a run of the pipeline file `text`, indented as suits the test."""
    text = "name: demo\n" + textwrap.dedent(text)
    run = start(pipeline=pipeline, push=runs.Push(ref=ref, commit=commit, **push), text=text.encode())
    assert run.definition or run.state != "error", run.reason
    return run


def states(run: Run) -> dict[str, str]:
    return dict(Stage.objects.filter(run=run).order_by("position").values_list("name", "state"))


def stage(run: Run, name: str) -> Stage:
    return Stage.objects.select_related("run__pipeline").get(run=run, name=name)
