"""The people whom the demo makes."""

from __future__ import annotations

import json

import pytest

from portal.demo import organisation
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
