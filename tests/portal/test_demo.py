"""The people whom the demo makes."""

from __future__ import annotations

import json
import subprocess

import pytest

from portal.demo import organisation
from portal.demo.repository import AUTHOR, Repository
from teams.models import Team, User


@pytest.mark.django_db
def test_there_is_an_administrator_whose_password_is_shown_once(home, tmp_path, client):
    Team.objects.all().delete()
    made, new = organisation.ensure(tmp_path / "repository.git")
    assert new
    admin = User.objects.get(username=organisation.ADMINISTRATOR)
    assert (admin.is_superuser, admin.is_staff, admin.memberships.count()) == (True, True, 0)
    assert client.login(username=admin.username, password=made.passwords[admin.username])
    assert client.get("/admin/").status_code == 200
    kept = organisation.demo_file().read_text()
    assert made.passwords[admin.username] not in kept
    assert json.loads(kept)["tokens"][admin.username] == made.tokens[admin.username]
    again, new = organisation.ensure(tmp_path / "repository.git")
    assert (new, again.passwords) == (False, {})


@pytest.mark.parametrize("owner", ["", "[user]\nname = Somebody\nemail = somebody@burger.example\n"])
def test_a_commit_by_hand_in_the_checkout_is_the_developers_whoever_makes_it(tmp_path, owner):
    repository = Repository(tmp_path)
    repository.ensure()
    settings = tmp_path / "gitconfig"
    settings.write_text(owner)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_CONFIG_NOSYSTEM": "1",
    }

    def git(*words):
        done = subprocess.run(
            ["git", *words], cwd=repository.checkout, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    (repository.checkout / "menu.txt").write_text("more pickles\n")
    git("add", "--all")
    git("commit", "--message", "A change of mine")
    assert git("log", "--format=%an <%ae> %cn <%ce>") == f"{AUTHOR} {AUTHOR}"
    git("push", "--quiet", "origin", "main")
    assert git("ls-remote", "origin", "main")
    repository.ensure()
    assert (repository.checkout / "menu.txt").exists(), "what somebody did there is kept"
