"""Every YAML block of the reference is a file without problems, and every key, kind and code is explained."""

from __future__ import annotations

import re

import pytest

from pipelines.definition.depends import RESULTS
from pipelines.definition.kinds import KINDS
from pipelines.definition.parse import parse
from pipelines.definition.placeholders import RUN_FIELDS
from pipelines.definition.report import format_problems
from pipelines.definition.schema import ENVIRONMENT, FILE, FREEZE, GATE, PARAMETER, RETRY, STAGE, TRIGGERS
from pipelines.definition.when import RUN_FACTS
from tests.definition.test_parse import ROOT

pytestmark = pytest.mark.workspaces

TEXT = (ROOT / "docs" / "pipeline-file.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_is_a_good_file(number):
    result = parse(BLOCKS[number], teams={"dev", "ops", "platform"})
    assert format_problems(result.problems, "docs/pipeline-file.md", BLOCKS[number]) == ""


def test_there_are_blocks():
    assert len(BLOCKS) >= 6


def test_every_name_is_explained():
    known = {
        key for record in (FILE, STAGE, GATE, RETRY, FREEZE, ENVIRONMENT, PARAMETER, TRIGGERS) for key in record.keys
    }
    known |= set(KINDS) | {f".{result}" for result in RESULTS if result}
    known |= {f"run.{name}" for name in (*RUN_FACTS, *RUN_FIELDS)}
    known |= {key for kind in KINDS.values() for key in getattr(kind.with_, "keys", {})}
    missing = sorted(name for name in known if f"`{name}`" not in TEXT and f"`{{{{{name}}}}}`" not in TEXT)
    assert missing == [], f"explain these in docs/pipeline-file.md: {missing}"


def test_every_code_of_a_problem_is_explained():
    sources = "".join(path.read_text() for path in (ROOT / "pipelines" / "definition").glob("*.py"))
    codes = set(re.findall(r'"((?:bad|unknown|missing|wrong|too|matrix|no)-[a-z-]+)"', sources))
    missing = sorted(code for code in codes if f"`{code}`" not in TEXT)
    assert missing == [], f"explain these in docs/pipeline-file.md: {missing}"
