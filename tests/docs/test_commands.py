"""The commands that README and docs tell people to run exist, and the snippets in them do what the text says."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from django.core.management import get_commands

from pipelines.definition.parse import parse
from pipelines.models import Attempt, Pipeline
from portal.cli.app import app, hoisted
from tests.pipelines.helpers import begin

from .pages import PAGES, README, ROOT, commands, name_of

TOOLS = {"ansible-vault", "cd", "chmod", "cp", "curl", "git", "kill", "mkdir", "rm", "sudo"}
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
BURGER = typer.main.get_command(app)
SNIPPETS = [
    (name_of(page), words)
    for page in PAGES
    for words in commands(page)
    if "-c" in words and words[0].endswith("python")
]


def wrong(words: list[str]) -> str:
    """Why a command of the docs cannot be right, "" if it can."""
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "make":
        unknown = [word for word in rest if "=" not in word and word not in TARGETS]
        return f"there is no make target {unknown[0]}" if unknown else ""
    if program == "burger":
        return _wrong_burger(rest)
    if program == "python":
        return _wrong_python(rest)
    if program in ("docker", "kubectl", "sed"):
        missing = [word for word in rest if word.startswith("docker/") and not (ROOT / word).exists()]
        return f"{missing[0]} does not exist" if missing else ""
    if program == "pytest":
        missing = [word for word in rest if not word.startswith("-") and not (ROOT / word.split("::")[0]).exists()]
        return f"{missing[0]} does not exist" if missing else ""
    return "" if program.lstrip("(").rstrip(";") in TOOLS | {"umask"} else f"{program} is not known here"


def _wrong_burger(words: list[str]) -> str:
    group, left = BURGER, hoisted(words)
    try:
        context = group.make_context("burger", left)
        while left := [*context._protected_args, *context.args]:
            _, command, left = context.command.resolve_command(context, left)
            context = command.make_context(command.name, left, parent=context)
            if not hasattr(command, "resolve_command"):
                return ""
    except Exception as error:
        return getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    return ""


def _wrong_python(words: list[str]) -> str:
    if words[:1] == ["manage.py"]:
        return "" if words[1] in get_commands() else f"manage.py has no command {words[1]}"
    if words[:1] == ["-m"]:
        return "" if importlib.util.find_spec(words[1]) else f"there is no module {words[1]}"
    if words[:1] == ["-c"]:
        compile(words[1], "docs", "exec")
        return ""
    return "" if (ROOT / words[0]).exists() else f"{words[0]} does not exist"


@pytest.mark.parametrize("doc", PAGES, ids=name_of)
def test_commands_exist(doc):
    found = [f"{' '.join(words)}: {why}" for words in commands(doc) if (why := wrong(words))]
    assert found == []


def test_what_is_wrong_is_found():
    for line in (
        "make fly",
        "burger fly",
        "burger runs --fly",
        "burger show",
        "fly",
        "kubectl apply -f docker/fly.yaml",
        "python manage.py fly",
    ):
        assert wrong(line.split()), line
    assert wrong(["burger", "--as", "petra", "approve", "a/1/b", "--yes"]) == ""
    assert wrong(["burger", "token", "create", "--days", "30"]) == ""
    assert wrong(["burger", "token", "fly"])


def test_the_readme_names_what_setup_asks_for():
    """What .ci/setup.py calls missing is what the README says to install."""
    asked = set(re.findall(r"apt-get install ([\w-]+)", (ROOT / ".ci" / "setup.py").read_text()))
    installed = next(words for words in commands(README) if "apt-get" in words)
    assert asked <= set(installed)


def test_every_make_target_is_explained():
    text = (ROOT / "docs" / "contributing" / "index.md").read_text()
    missing = sorted(target for target in TARGETS - {"help"} if f"`make {target}`" not in text)
    assert missing == [], f"explain these in docs/contributing/index.md: {missing}"


def test_the_readme_s_pipeline_is_a_good_one_and_ours_is_as_long_as_it_says():
    text = README.read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert not parse(example, teams={"dev", "ops", "platform"}).problems
    ours = parse((ROOT / "pipeline.yaml").read_bytes()).definition
    assert f"has {len(ours.stages)} stages" in " ".join(text.split())


def test_there_are_snippets():
    assert len(SNIPPETS) >= 3


@pytest.mark.django_db
def test_people_are_made_and_sent_away_as_the_docs_say():
    from teams.models import User

    made, closed = (words[-1] for _, words in SNIPPETS if "teams.models" in words[-1])
    exec(made, {})  # noqa: S102 our own page
    ada = User.objects.get(username="ada")
    assert ada.as_actor().leads("payments")
    assert not ada.has_usable_password()
    exec(closed, {})  # noqa: S102
    ada.refresh_from_db()
    assert not ada.is_active


@pytest.mark.django_db
def test_a_restored_database_meets_no_folder_that_it_does_not_know(home: Path, pipeline: Pipeline, working: Callable):
    begin(pipeline, "stages: [{name: hello, kind: noop, owner: dev}]")
    working()
    known = Attempt.objects.get().key
    for name in (known, "s999-1"):
        (home / "work" / name).mkdir(parents=True)
    exec(next(words[-1] for _, words in SNIPPETS if "rmtree" in words[-1]), {})  # noqa: S102 our own page
    assert [folder.name for folder in (home / "work").iterdir()] == [known]


def test_the_backup_is_whole_while_somebody_writes(tmp_path: Path):
    (tmp_path / "var").mkdir()
    source = sqlite3.connect(tmp_path / "var" / "burger.sqlite3")
    source.execute("PRAGMA journal_mode=WAL")
    source.execute("CREATE TABLE runs (number INTEGER)")
    source.executemany("INSERT INTO runs VALUES (?)", [(n,) for n in range(100)])
    source.commit()
    code = next(words[-1] for _, words in SNIPPETS if "backup" in words[-1])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    copy = sqlite3.connect(tmp_path / "burger-backup.sqlite3")
    assert copy.execute("SELECT count(*) FROM runs").fetchone() == (100,)
    for connection in (source, copy):
        connection.close()
