"""Administrators make teams and people on pages, and the record says so."""

from __future__ import annotations

from urllib.parse import unquote

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


def test_strangers_sign_in_at_the_one_door_and_come_back(client, cast):
    """Django's own page for that knows no limit on wrong passwords."""
    cast.root.is_staff = True
    cast.root.set_password("correct-horse-battery-42")
    cast.root.save()
    asked = client.get("/admin/teams/team/", follow=True)
    assert [unquote(where) for where, _ in asked.redirect_chain] == [
        "/admin/login/?next=/admin/teams/team/",
        "/sign-in?next=/admin/teams/team/",
    ]
    assert "Django administration" not in asked.content.decode()
    form = {"username": "root", "password": "correct-horse-battery-42", "next": "/admin/teams/team/"}
    inside = client.post(asked.redirect_chain[-1][0], form, follow=True)
    assert (inside.status_code, inside.redirect_chain) == (200, [("/admin/teams/team/", 302)])
    assert "Select team to change" in inside.content.decode()


def test_nobody_else_comes_in(client, cast):
    client.force_login(cast.pia)
    assert client.get("/admin/teams/team/").status_code == 302
    assert Team.objects.count() == 3
