"""Administrators make teams and people on pages, and the record says so."""

from __future__ import annotations

import pytest

from teams.models import AuditEntry, Membership, Team, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(cast, client):
    User.objects.filter(username="root").update(is_staff=True)
    client.force_login(cast.root)
    return client


def test_a_team_with_a_member_is_made_and_recorded(admin, cast):
    form = {
        "slug": "data", "name": "Data", "color": "#112233",
        "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0",
        "memberships-0-user": cast.eve.pk, "memberships-0-role": "lead",
    }  # fmt: skip
    answer = admin.post("/admin/teams/team/add/", form)
    assert answer.status_code == 302, answer.context["errors"]
    assert Membership.objects.get(user=cast.eve).team.slug == "data"
    assert set(AuditEntry.objects.filter(actor="root").values_list("action", flat=True)) == {
        "add-team",
        "set-membership",
    }


def test_a_person_is_made_changed_and_deleted_without_a_password_in_the_record(admin):
    password = "correct-horse-battery-42"
    new = {"username": "zoe", "usable_password": "true", "password1": password, "password2": password}
    assert admin.post("/admin/teams/user/add/", new).status_code == 302
    person = User.objects.get(username="zoe")
    assert admin.post(f"/admin/teams/user/{person.pk}/delete/", {"post": "yes"}).status_code == 302
    entries = AuditEntry.objects.filter(actor="root")
    assert [entry.action for entry in entries] == ["delete-user", "add-user"]
    assert all(password not in str(entry.data) for entry in entries)


def test_the_audit_trail_can_only_be_read_there(admin):
    assert admin.get("/admin/teams/auditentry/").status_code == 200
    assert admin.get("/admin/teams/auditentry/add/").status_code == 403


def test_nobody_else_comes_in(client, cast):
    client.force_login(cast.pia)
    assert client.get("/admin/teams/team/").status_code == 302
    assert Team.objects.count() == 3
