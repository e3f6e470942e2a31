"""`make docs` writes the generated parts of docs/ anew: python -m tests.docs.generate"""

from __future__ import annotations

import json
import os
import re
import tempfile

from .pages import ROOT

AUTHORIZATION = ROOT / "docs" / "authorization.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def generated() -> dict[str, str]:
    """The whole text of each page that is generated, or holds a generated part, by its path. Needs Django."""
    from pipelines.definition.schema import json_schema

    from . import authorization, states

    return {
        "docs/pipeline.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "docs/authorization.md": authorization.page(),
        "docs/architecture.md": with_part(ARCHITECTURE.read_text(), "states", states.table()),
    }


def with_part(text: str, name: str, part: str) -> str:
    """The page with what stands between its two marks replaced."""
    begin, end = f"<!-- {name}: written by `make docs` -->\n", f"<!-- end of {name} -->\n"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    made, count = re.subn(pattern, lambda _: begin + part + end, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"The marks of {name} were found {count} times; expected once.")
    return made


def main() -> None:
    import django

    with tempfile.TemporaryDirectory(prefix="burger-docs-") as home:
        os.environ |= {"BURGER_HOME": home, "DJANGO_SETTINGS_MODULE": "portal.settings"}
        django.setup()
        for name, text in generated().items():
            (ROOT / name).write_text(text)
            print(name)


if __name__ == "__main__":
    main()
