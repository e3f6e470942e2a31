"""The shop alone, as real processes: health, headers, stopping, a database in trouble."""

import re
import runpy
import sqlite3
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.ordering.served import MANAGE, ROOT, Server, Shop, environment, run

SETTINGS = ROOT / "ordering" / "site" / "settings.py"


@pytest.fixture(scope="module")
def standing(tmp_path_factory, database, built):
    """A shop that the tests of this module share; none of them stops or breaks it."""
    with Shop(tmp_path_factory.mktemp("standing") / "shop", database=database, built=built) as served:
        yield served


def test_a_customer_orders_over_http(standing):
    with httpx.Client(base_url=standing.url, follow_redirects=True) as client:
        health = client.get("/healthz")
        assert (health.status_code, health.json()) == (200, {"release": "test-release", "database": "ok"})
        page = client.get("/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
        client.post("/cart/change/", data={"csrfmiddlewaretoken": token, "add": "fries"})
        form = client.get("/checkout/").text
        data = {
            name: re.search(rf'name="{name}" value="([^"]+)"', form)[1]
            for name in ("csrfmiddlewaretoken", "key", "total")
        }
        order = client.post("/checkout/", data=data | {"name": "Ada"})
        assert order.status_code == 200
        assert "Thank you, Ada" in order.text
        assert "Ada" in client.get("/kitchen/").text


def test_every_answer_names_the_release_and_is_guarded(standing):
    for path, status in (("/", 200), ("/nothing-here", 404), ("/healthz", 200), ("/api/menu", 200)):
        answer = standing.client.get(path)
        assert answer.status_code == status
        assert answer.headers["X-Release"] == "test-release"
        assert "server" not in answer.headers
    headers = standing.client.get("/").headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Nothing on this plate" in standing.client.get("/nothing-here").text


def test_the_health_check_may_use_any_host_name_and_pages_may_not(standing):
    assert standing.client.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200
    assert standing.client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_page_names_files_that_are_there_for_good(standing):
    page = standing.client.get("/").text
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert len(files) > 10
    for path in files:
        answer = standing.client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"], path


def test_the_first_view_is_small(standing):
    page = standing.client.get("/")
    eager = re.findall(r'<img src="([^"]+)"(?![^>]*loading)', page.text)
    files = [*re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', page.text), *eager]
    sizes = {path: int(standing.client.get(path).headers["Content-Length"]) for path in set(files)}
    assert len(page.content) + sum(sizes.values()) < 100_000, sizes
    assert sum(size for path, size in sizes.items() if path.endswith(".js")) < 15_000


def test_health_says_which_migrations_are_missing(tmp_path):
    with Shop(tmp_path / "shop") as shop:
        before = shop.client.get("/healthz")
        assert before.status_code == 503
        assert "run migrate" in before.json()["database"]
        run([*MANAGE, "migrate", "--verbosity", "0"], shop.env)
        assert shop.client.get("/healthz").status_code == 200
        with sqlite3.connect(shop.env["DATA_DIR"] + "/shop.sqlite3") as other:
            other.execute("DELETE FROM django_migrations WHERE name = '0002_first_menu'")
        assert "(ordering.0002_first_menu)" in shop.client.get("/healthz").json()["database"]


def test_a_database_that_breaks_is_a_503_and_the_shop_goes_on(shop):
    path = shop.env["DATA_DIR"] + "/shop.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE ordering_order RENAME TO away")
    answer = shop.order(shop.client, "key-of-ada", {"fries": 1})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert "Retry-After" in answer.headers
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE away RENAME TO ordering_order")
    assert shop.order(shop.client, "key-of-ada", {"fries": 1}).status_code == 201


def test_stopping_under_load_loses_no_request(shop):
    """Writers queue for one lock, so requests are slow and many run when the signal comes."""
    stop = threading.Event()
    answers: list[int] = []
    refused_early: list[str] = []

    def customer(_number: int) -> None:
        with httpx.Client(timeout=30) as client:
            while True:
                try:
                    answers.append(shop.order(client, str(uuid.uuid4()), {"fries": 1}).status_code)
                except httpx.ConnectError:
                    # No new connection is taken after the server has stopped: nothing was sent on it.
                    if not stop.is_set():
                        refused_early.append("refused before the signal")
                    return

    with ThreadPoolExecutor(8) as pool:
        customers = [pool.submit(customer, number) for number in range(8)]
        while len(answers) < 20:
            assert shop.process.poll() is None
            threading.Event().wait(0.01)
        stop.set()
        shop.terminate()
        for done in customers:
            done.result(timeout=30)
    assert shop.process.wait(timeout=30) == 0
    assert refused_early == []
    assert set(answers) == {201}
    with sqlite3.connect(shop.env["DATA_DIR"] + "/shop.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM ordering_order").fetchone()[0] == len(answers)


def test_a_shop_whose_database_does_not_answer_still_takes_requests(tmp_path, database):
    """Each customer is told so by the shop; a router that took its replicas out would have nobody to say it."""
    with Shop(tmp_path / "shop", database=database) as shop:
        assert shop.client.get("/readyz").json() == {"state": "ok"}
        for file in Path(shop.env["DATA_DIR"]).glob("shop.sqlite3*"):
            file.unlink()
        assert shop.client.get("/healthz").status_code == 503
        assert shop.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_stopping_shop_says_so_to_its_router(tmp_path, database, path):
    with Shop(tmp_path / "shop", database=database) as shop:
        shop.terminate()
        seen = set()
        for _ in range(1000):
            try:
                answer = shop.client.get(path)
            except httpx.TransportError:
                break
            seen.add((answer.status_code, answer.headers.get("Connection")))
        assert (503, "close") in seen
        assert shop.process.wait(timeout=15) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SECRET_KEY": ""}, "The secret key has 0 characters"),
        ({"SECRET_KEY": "short"}, "expected at least 32"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE cannot be read"),
        ({"DATA_DIR": ""}, "Neither DATA_DIR nor DATABASE_URL is set"),
        ({"DATA_DIR": "/nowhere/at-all"}, "which is no folder"),
        ({"DATABASE_URL": "mysql://ada:hunter2@db/shop"}, "DATABASE_URL begins with mysql://"),
        ({"SHOP_TIME_ZONE": "Mars/Olympus"}, "SHOP_TIME_ZONE is 'Mars/Olympus'"),
        ({"SHOP_CURRENCY": "euro"}, "expected an ISO 4217 code"),
        ({"KITCHEN_ALLOWED": "10.0.0.0/8,kitchen"}, "KITCHEN_ALLOWED holds 'kitchen'"),
        ({"STATIC_URL": "assets"}, "STATIC_URL is 'assets'"),
        ({"STATIC_MANIFEST_DIR": "/nowhere"}, "holds no staticfiles.json"),
        ({"HTTPS": "perhaps"}, "expected yes or no"),
    ],
)
def test_a_wrong_environment_is_named(tmp_path, monkeypatch, change, said):
    for name, value in (environment(tmp_path) | {"DATABASE_URL": ""} | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as error:
        runpy.run_path(str(SETTINGS))
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


def test_postgresql_is_read_from_its_address(tmp_path, monkeypatch):
    address = "postgresql://ada:p%40ss@db.example:5433/shop?sslmode=require"
    for name, value in (environment(tmp_path) | {"DATABASE_URL": address}).items():
        monkeypatch.setenv(name, value)
    database = runpy.run_path(str(SETTINGS))["DATABASES"]["default"]
    assert database["ENGINE"] == "ordering.site.postgresql"
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("ada", "p@ss", "shop")
    assert (database["HOST"], database["PORT"]) == ("db.example", "5433")
    assert database["OPTIONS"] == {"sslmode": "require"}


def test_a_shop_that_cannot_start_says_so_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "ordering.site.serve", "--port", "0"]
    done = run(command, environment(tmp_path, SECRET_KEY=""), check=False)
    assert done.returncode == 1
    assert "The shop cannot start: The secret key has 0 characters" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_ends_the_start(standing):
    command = [sys.executable, "-m", "ordering.site.serve", "--port", str(standing.port)]
    done = run(command, standing.env, check=False)
    assert done.returncode != 0
    assert "address already in use" in done.stderr


def test_the_schema_and_the_models_agree(tmp_path):
    run([*MANAGE, "makemigrations", "--check", "--dry-run"], environment(tmp_path))


def test_seeding_twice_adds_nothing(tmp_path, database):
    (tmp_path / "shop.sqlite3").write_bytes(database.read_bytes())
    assert "0 items added; the menu has 18." in run([*MANAGE, "seed_menu"], environment(tmp_path)).stdout


@pytest.fixture(scope="module")
def frontend(tmp_path_factory, built):
    folder = tmp_path_factory.mktemp("front")
    env = environment(folder, STATIC_URL="/assets/abc123/", RELEASE="front-release")
    command = [sys.executable, "-S", "-m", "ordering.frontend", "--root", str(built)]
    with Server(command, env, folder / "log") as server:
        yield server


def test_the_frontend_serves_what_the_backend_names(frontend, built, tmp_path, database):
    with Shop(tmp_path / "shop", database=database, built=built, STATIC_URL="/assets/abc123/") as shop:
        files = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', shop.client.get("/").text))
    assert len(files) > 10
    for path in files:
        answer = frontend.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Release"] == "front-release"
        again = frontend.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_frontend_compresses_and_guards(frontend, built):
    path = next((built / "static" / "ordering").glob("shop.????????????.css"))
    url = f"/assets/abc123/ordering/{path.name}"
    small = frontend.client.get(url, headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert small.text == path.read_text()
    assert "Content-Encoding" not in frontend.client.get(url, headers={"Accept-Encoding": "gzip;q=0"}).headers
    assert frontend.client.head(url).headers["Content-Length"] == small.headers["Content-Length"]
    assert frontend.client.post(url).status_code == 405
    for bad in ("/assets/abc123/../staticfiles.json", "/assets/abc123/staticfiles.json", "/etc/passwd", "/"):
        missing = frontend.client.get(bad)
        assert missing.status_code == 404
        assert "Nothing on this plate" in missing.text


def test_error_pages_need_nothing_else(frontend):
    for status in (404, 502, 503):
        page = frontend.client.get(f"/errors/{status}.html")
        assert page.status_code == 200
        for said in {404: ("Nothing on this plate", "Zur Karte")}.get(status, ("Try again", "Nochmal versuchen")):
            assert said in page.text, "whoever reads it finds their language"
        assert not re.search(r'(src|href)="[^"/]*//|<script|<link|url\(|@import', page.text)
        assert "no-store" in page.headers["Cache-Control"] or "max-age=60" in page.headers["Cache-Control"]
    assert frontend.client.get("/healthz").status_code == 200
    assert frontend.client.get("/readyz").json() == {"state": "ok"}


def test_two_builds_are_the_same_bytes(built, tmp_path):
    from tests.ordering.served import build_frontend

    other = build_frontend(tmp_path / "other")
    files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert len(files) > 50
    for path in files:
        assert (built / path).read_bytes() == (other / path).read_bytes(), path


def test_the_frontend_stops_cleanly(frontend):
    """The last test of this module: it stops what the others share."""
    frontend.terminate()
    assert frontend.process.wait(timeout=15) == 0
