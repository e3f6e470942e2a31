"""`burger compile`: what would be submitted to Argo for a pipeline file, before anything is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import read_file
from .errors import FAILED

if TYPE_CHECKING:
    from pipelines.definition.model import Definition

HERE = "http://127.0.0.1:8400"


def register(app: typer.Typer) -> None:
    app.command("compile")(compile_file)


def compile_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- reads standard input.")],
    namespace: Annotated[str, typer.Option(help="Where the Workflow runs.")] = "burger",
    portal: Annotated[str, typer.Option(help="The portal's address, as pods reach it.")] = HERE,
    image: Annotated[str, typer.Option(help="The image of docker/runner.")] = "burger-runner",
) -> None:
    """Print the Workflow of a pipeline file and the WorkflowTemplates of its stages, as YAML. Needs no portal."""
    import yaml

    from pipelines.engines.argo.printing import documents

    made = documents(_definition(file), namespace=namespace, portal=portal, image=image)
    sys.stdout.write(yaml.dump_all(made, Dumper=_plain(yaml.SafeDumper), sort_keys=False, width=120))


def _definition(file: str) -> Definition:
    from pipelines.definition.parse import parse
    from pipelines.definition.report import format_problems

    text = read_file(file)
    result = parse(text, teams=None)
    if result.definition is None:
        sys.stdout.write(format_problems(result.problems, file, text))
        raise typer.Exit(FAILED)
    return result.definition


def _plain(dumper: Any) -> Any:
    """YAML that repeats what is the same, as people write it."""

    class Plain(dumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain
