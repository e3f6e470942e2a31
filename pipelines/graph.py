"""The picture of a run: Graphviz source from its stages, drawn once for each shape, coloured by CSS classes."""

from __future__ import annotations

import shutil


def can_draw() -> bool:
    return bool(shutil.which("dot"))
