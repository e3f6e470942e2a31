from __future__ import annotations

import time

import pytest

from pipelines.definition.globs import matches


@pytest.mark.parametrize(
    ("glob", "fits", "others"),
    [
        ("**/*.py", ["setup.py", "src/a.py", "src/deep/a.py"], ["setup.pyc", "src/a.py/b"]),
        ("docs/**/x.md", ["docs/x.md", "docs/a/x.md", "docs/a/b/x.md"], ["x.md", "docs/ax.md", "docs/a/x.md/y"]),
        ("src/*.py", ["src/x.py"], ["src/deep/x.py", "x.py", "src/x.pyc"]),
        ("src/**", ["src/x", "src/deep/x"], ["lib/src/x", "srcs/x"]),
        ("docs/", ["docs/x", "docs/a/x"], ["docs-old/x"]),
        ("*", ["a", ".a"], ["a/b"]),
        ("**", ["a", "a/b/c"], []),
        ("**.js", ["a.js", "b/a.js"], ["a.jsx"]),
        ("release/**-beta", ["release/1-beta", "release/x/1-beta"], ["release/1"]),
        ("v**", ["v1", "v1/fix"], ["w1", "x/v1"]),
        ("v[0-9].?", ["v1.2"], ["va.2", "v1.22", "v1./"]),
        ("/setup.py", ["setup.py"], ["a/setup.py"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_globs_mean_what_they_mean_to_git(glob, fits, others):
    assert [name for name in [*fits, *others] if matches(name, glob)] == fits


def test_no_glob_takes_long():
    start = time.process_time()
    assert not matches("a/" * 300 + "a" * 300, "**/" * 300 + "*a" * 300 + "b")
    assert time.process_time() - start < 2
