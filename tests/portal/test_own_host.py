"""Pages are shown under the portal's own host only, as a release gets every cookie of the host that it is under."""

from __future__ import annotations

import pytest
from django.test import Client

from portal import settings as as_set


@pytest.fixture(autouse=True)
def hosts(settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost", "burger.example"]
    settings.PUBLIC_URL, settings.PORTAL_HOST = "http://127.0.0.1:8400", "127.0.0.1"
    settings.ENVIRONMENT_HOST = "localhost"


@pytest.mark.django_db
def test_a_page_under_the_host_of_releases_is_shown_under_the_portals_own():
    client = Client()
    sent = client.get("/sign-in?next=/runs", headers={"Host": "localhost:8400"})
    assert (sent.status_code, sent["Location"]) == (302, "http://127.0.0.1:8400/sign-in?next=/runs")
    assert not sent.cookies
    form = {"username": "ann", "password": "x"}
    assert client.post("/sign-in", form, headers={"Host": "localhost:8400"}).status_code == 307
    assert client.get("/shop/", headers={"Host": "localhost"}).status_code == 302
    assert client.get("/sign-in", headers={"Host": "127.0.0.1:8400"}).status_code == 200
    assert client.get("/sign-in", headers={"Host": "burger.example"}).status_code == 200, "a third name is nobody's"


@pytest.mark.django_db
def test_programs_may_use_either_name():
    assert Client().get("/api/me", headers={"Host": "localhost:8400"}).status_code == 401
    assert Client().get("/hooks/git/x", headers={"Host": "localhost:8400"}).status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize(("portal", "environments"), [("127.0.0.1", ""), ("127.0.0.1", "127.0.0.1")])
def test_with_one_name_nobody_is_sent_anywhere(settings, portal, environments):
    settings.PORTAL_HOST, settings.ENVIRONMENT_HOST = portal, environments
    for host in ("localhost", "127.0.0.1"):
        assert Client().get("/sign-in", headers={"Host": host}).status_code == 200


def test_by_default_the_two_names_of_this_machine_are_shared_out():
    assert {as_set.PORTAL_HOST, as_set.ENVIRONMENT_HOST} == {"127.0.0.1", "localhost"}
