"""The parts of rollouts that are plain functions: settings, routes, replacing replicas, configuration."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipelines.executors.base import Artifact, PlanError, StageSpec
from pipelines.executors.rollout import strategy
from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.config import LOOPBACK, PRIVATE, read_access, read_config
from pipelines.executors.rollout.local.desired import DesiredState
from pipelines.executors.rollout.local.place import Place, check_name, read_json, write_json
from pipelines.executors.rollout.local.replica import Replica, backoff, command, environment, next_moves
from pipelines.executors.rollout.local.router import route, token_path
from pipelines.executors.rollout.local.target import keep_release, kept_release, releases
from pipelines.executors.rollout.release import Release, Service
from pipelines.executors.rollout.settings import parse, parse_strategy

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
WEB = {"artifact": "web", "command": ["python", "serve.py"], "route": "/"}


def spec(**with_):
    return StageSpec(
        run=3,
        pipeline="shop",
        stage="rollout",
        kind="rollout",
        owner="ops",
        commit="c" * 40,
        environment="staging",
        with_=with_,
        artifacts={
            "web": Artifact("web", "slug", DIGEST),
            "image": Artifact("image", "image", DIGEST),
        },
    )


# --- the pipeline file ------------------------------------------------------------------------------------


def test_settings_are_read_whole():
    parsed = parse(
        spec(
            target="local",
            services={
                "web": {
                    **WEB,
                    "replicas": "2",
                    "health": {"path": "/up"},
                    "env": {"A": 1},
                    "secrets": {"KEY": "shop-key"},
                    "drain": "1m30s",
                }
            },
            errors={"service": "web"},
            progressDeadline="2m",
            strategy={"canary": {"steps": [{"setWeight": 5}, {"pause": {}}, {"pause": {"duration": "5s"}}]}},
        )
    )
    assert parsed.services["web"] == Service(
        artifact="web",
        digest=DIGEST,
        command=("python", "serve.py"),
        route="/",
        replicas=2,
        health="/up",
        env={"A": "1"},
        secrets={"KEY": "shop-key"},
        team="ops",
        drain=90.0,
    )
    assert parsed.steps == strategy.canary((strategy.SetWeight(5), strategy.Pause(), strategy.Pause(5.0)))
    assert (parsed.errors, parsed.deadline) == ("web", 120.0)


@pytest.mark.parametrize(
    ("with_", "said"),
    [
        ({}, "with.services is None"),
        ({"services": {}}, "at least one service"),
        ({"services": {"web": WEB}, "stategy": {}}, "unknown key 'stategy'"),
        ({"services": {"Web": WEB}}, "lower-case letters"),
        ({"services": {"web": {**WEB, "artifact": "wob"}}}, "'wob', but the stages that this one needs made"),
        ({"services": {"web": {**WEB, "artifact": "image"}}}, "of kind image"),
        ({"services": {"web": {**WEB, "command": "python serve.py"}}}, "expected a list"),
        ({"services": {"web": {**WEB, "replicas": 0}}}, "from 1 to 50"),
        ({"services": {"web": {**WEB, "route": "/`) || PathPrefix(`/"}}}, "expected a path prefix"),
        ({"services": {"web": {**WEB, "drain": "5 s"}}}, "not a duration"),
        ({"services": {"web": {**WEB, "env": {"A-B": "1"}}}}, "no name of a variable"),
        ({"services": {"web": WEB, "shop": WEB}}, "shop.route is /, as that of web"),
        ({"services": {"web": WEB}, "errors": "pages"}, "none of the services web"),
        ({"services": {"web": WEB}, "target": "moon"}, "target local only"),
        ({"services": {"web": WEB}, "strategy": {"canary": {}, "rolling": {}}}, "exactly one of"),
        ({"services": {"web": WEB}, "strategy": {"big-bang": {}}}, "big-bang is unknown"),
        ({"services": {"web": WEB}, "strategy": {"rolling": {"maxSurge": "lots"}}}, "neither a whole number"),
        ({"services": {"web": WEB}, "strategy": {"canary": {"steps": [{"setWeight": 101}]}}}, "from 0 to 100"),
        ({"services": {"web": WEB}, "strategy": {"canary": {"steps": [{"wait": 1}]}}}, "expected exactly one"),
        (
            {"services": {"web": WEB}, "strategy": {"canary": {"steps": [{"verify": {"soak": "long"}}]}}},
            r"steps\[0\].verify: `soak`",
        ),
        ({"services": {"web": WEB}, "strategy": {"blueGreen": {"steps": [{"setWeight": 5}]}}}, "pause, verify"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(with_, said):
    with pytest.raises(PlanError, match=said):
        parse(spec(**with_))


def test_strategies_compile_to_steps():
    assert parse_strategy(None)[:2] == ("rolling", strategy.rolling())
    assert parse_strategy({"blueGreen": {"keep": 5}})[1] == strategy.blue_green(5.0)
    assert parse_strategy({"rollback": None})[1] == strategy.rollback()
    assert parse_strategy({"canary": {"dynamicStableScale": True}})[2] is True


# --- routes -----------------------------------------------------------------------------------------------


def release(name: str, digest: str = DIGEST) -> Release:
    web = Service("web", digest, ("python",), route="/")
    pages = Service("pages", digest, ("python",), route="assets")
    return Release(name, {"web": web, "pages": pages}, errors="pages")


def state(weights) -> DesiredState:
    two = {"old": release("old"), "new": release("new", OTHER)}
    return DesiredState(1, "", "", "old", two, {name: {"web": 2, "pages": 1} for name in two}, weights)


READY = {("old", "web"): [1001, 1002], ("new", "web"): [1003], ("old", "pages"): [1004], ("new", "pages"): [1005]}


def routes(weights, ready=READY):
    routing = route("staging", state(weights), ready, PRIVATE)
    return routing, json.loads(routing.text)["http"]


def at_route(http, prefix: str = "/") -> dict:
    (found,) = (one["service"] for one in http["routers"].values() if one["rule"] == f"PathPrefix(`{prefix}`)")
    return http["services"][found]


def children(http, prefix: str = "/") -> dict[str, int]:
    weighted = at_route(http, prefix)["weighted"]
    return {child["name"]: child["weight"] for child in weighted["services"]}


def test_traffic_is_shared_by_weight_and_every_release_keeps_its_assets():
    routing, http = routes({"old": 80, "new": 20})
    assert children(http) == {"staging-web-old": 80, "staging-web-new": 20}
    assert routing.weights == {"old": 80, "new": 20}
    assert at_route(http)["weighted"]["sticky"]["cookie"]["httpOnly"] is True
    rules = {router["rule"]: router for router in http["routers"].values()}
    for short, port in (("ab" * 6, 1004), ("cd" * 6, 1005)):
        one = rules[f"PathPrefix(`/assets/{short}/`)"]
        servers = http["services"][one["service"]]["loadBalancer"]["servers"]
        assert servers == [{"url": f"http://127.0.0.1:{port}"}]
    assert f"Path(`{token_path('staging', routing.token)}`)" in rules
    assert {r["middlewares"][0] for r in rules.values() if "middlewares" in r} == {"staging-allow"}


def test_what_is_not_ready_gets_nothing_and_that_is_reported():
    ready = {key: ports for key, ports in READY.items() if key != ("new", "web")}
    routing, http = routes({"old": 80, "new": 20}, ready)
    assert children(http) == {"staging-web-old": 80}
    assert routing.weights == {"old": 100}
    assert routes({"old": 100})[0].weights == {"old": 100}


def test_a_release_may_call_what_serves_a_route_otherwise():
    """Traffic is shared over what answers there, whatever its name: below a route that one release alone has, the other
    answers by what it has above it."""
    shop = Service("shop", OTHER, ("python",), route="/")
    api = Service("api", OTHER, ("python",), route="/api")
    releases = {"old": release("old"), "new": Release("new", {"shop": shop, "api": api})}
    sets = {"old": {"web": 2, "pages": 1}, "new": {"shop": 1, "api": 1}}
    ready = {("old", "web"): [1001, 1002], ("new", "shop"): [1003], ("new", "api"): [1006]}
    for weights in ({"old": 75, "new": 25}, {"new": 100}, {"old": 100}):
        routing = route("staging", DesiredState(1, "", "", "old", releases, sets, weights), ready, PRIVATE)
        http = json.loads(routing.text)["http"]
        names = {"old": "staging-web-old", "new": "staging-shop-new"}
        assert children(http) == {names[one]: weight for one, weight in weights.items()}
        names["new"] = "staging-api-new"
        assert children(http, "/api") == {names[one]: weight for one, weight in weights.items()}
        assert routing.weights == weights
        assert set(children(http)) <= set(http["services"])


def test_browsers_that_come_under_the_portals_host_are_sent_to_the_environments_own():
    routing = route("staging", state(None), READY, PRIVATE, away=("portal.example", "shop.example"))
    routers = json.loads(routing.text)["http"]["routers"]
    away = routers["staging-away"]
    assert away["rule"].startswith("Host(`portal.example`) && (HeaderRegexp(`User-Agent`")
    assert away["priority"] == max(one.get("priority", 0) for one in routers.values())
    for known in (("", "shop.example"), ("portal.example", ""), ("same.example", "same.example")):
        routing = route("staging", state(None), READY, PRIVATE, away=known)
        assert "staging-away" not in json.loads(routing.text)["http"]["routers"]


def test_without_weights_all_ready_replicas_share_evenly():
    routing, http = routes(None)
    assert children(http) == {"staging-web-old": 2, "staging-web-new": 1}
    assert routing.weights == {"old": 67, "new": 33}


def test_nothing_ready_answers_503_and_not_404():
    routing, http = routes({"old": 100}, {})
    assert list(children(http).values()) == [1]
    (none,) = children(http)
    assert http["services"][none] == {"loadBalancer": {"servers": []}}
    assert routing.weights == {}


def test_the_token_changes_with_the_routes_and_with_nothing_else():
    assert routes({"old": 100})[0].token == routes({"old": 100})[0].token
    assert routes({"old": 100})[0].token != routes({"old": 99, "new": 1})[0].token


# --- replicas ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "fresh", "stale", "expected"),
    [
        (2, [], [], (2, [])),
        (2, [("a", True), ("b", False)], [], (0, [])),
        (1, [("a", True), ("b", False)], [], (0, ["b"])),
        (0, [("a", True)], [], (0, ["a"])),
        # one new configuration after another, the new replica first
        (2, [], [("x", True), ("y", True)], (1, [])),
        (2, [("a", False)], [("x", True), ("y", True)], (0, [])),
        (2, [("a", True)], [("x", True), ("y", True)], (1, ["x"])),
        (2, [("a", True), ("b", True)], [("y", True)], (0, ["y"])),
        # what serves nobody goes at once
        (2, [], [("x", False), ("y", True)], (1, ["x"])),
    ],
)
def test_replicas_are_replaced_one_after_another(wanted, fresh, stale, expected):
    assert next_moves(wanted, fresh, stale) == expected


def test_restarts_back_off():
    assert [backoff(deaths) for deaths in (1, 2, 3, 4)] == [0.0, 0.25, 0.5, 1.0]
    assert backoff(1000) == 30.0


def test_a_replica_gets_its_own_environment_and_nothing_of_the_keepers(tmp_path, monkeypatch):
    monkeypatch.setenv("PORTAL_SECRET", "no")
    place = Place(tmp_path, "staging")
    secret = tmp_path / "secrets" / "ops" / "key"
    secret.parent.mkdir(parents=True)
    secret.write_text("s3cret")
    secret.chmod(0o600)
    env = {"WHERE": "{environment}:{port}", "MODE": "file"}
    service = Service("web", DIGEST, ("python", "-m", "x", "{port}"), "/", env=env, secrets={"KEY": "key"}, team="ops")
    one = Release("r1", {"web": service})
    replica = Replica("id", "r1", "web", "rev", port=4000)
    config = {"MODE": "config", "RELEASE": "forged"}
    found = environment(one, service, replica, slug=tmp_path, place=place, config=config, hosts="localhost")
    assert "PORTAL_SECRET" not in found
    assert (found["WHERE"], found["MODE"], found["KEY"]) == ("staging:4000", "config", "s3cret")
    assert (found["RELEASE"], found["PORT"], found["DATA_DIR"]) == ("r1", "4000", str(place.data))
    assert command(service, replica, tmp_path, place)[1:] == ["-m", "x", "4000"]


# --- files ------------------------------------------------------------------------------------------------


def test_configuration_files_are_read_in_order_and_mistakes_do_not_show_values(tmp_path):
    place = Place(tmp_path, "staging")
    place.config.mkdir(parents=True)
    (place.config / "a.env").write_text("# words\n\nA=1\nB = two words \nURL=x?a=b\n")
    (place.config / "b.env").write_text("A=2\nhush-hush\n")
    config = read_config(place)
    assert config.values == {"A": "2", "B": "two words", "URL": "x?a=b"}
    assert config.problem == "b.env line 2 is not NAME=VALUE"
    assert read_config(replace(place, name="other")).digest != config.digest


@pytest.mark.parametrize(
    ("content", "allow", "fine"),
    [
        (None, PRIVATE, True),
        ('{"allow": ["10.0.0.1", "fd00::/8"]}', ("10.0.0.1/32", "fd00::/8"), True),
        ('{"allow": ["everybody"]}', LOOPBACK, False),
        ("[]", LOOPBACK, False),
        ("{", LOOPBACK, False),
    ],
)
def test_a_broken_access_file_lets_in_this_machine_only(tmp_path, content, allow, fine):
    place = Place(tmp_path, "staging")
    place.folder.mkdir(parents=True)
    if content is not None:
        place.access.write_text(content)
    found, problem = read_access(place)
    assert (found, not problem) == (allow, fine)


def test_ten_releases_are_kept_the_latest_first(tmp_path):
    place = Place(tmp_path, "staging")
    for number in range(13):
        keep_release(place, replace(release(f"r{number}"), when=float(number)))
    names = [one["name"] for one in releases(tmp_path, "staging")]
    assert names == [f"r{number}" for number in range(12, 2, -1)]
    assert kept_release(place, "r12") == replace(release("r12"), when=12.0)
    assert kept_release(place, "../../r12") is None


def test_a_broken_file_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is no JSON"):
        read_json(tmp_path / "a.json")
    assert read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize("name", ["", "A", "../x", "a b", "-a", "a`"])
def test_a_name_that_could_break_out_is_refused(name):
    with pytest.raises(ValueError, match="cannot be the name"):
        check_name(name, "an environment")


def test_a_log_is_kept_short_while_it_is_written_to(tmp_path):
    log = tmp_path / "web.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old line\n" * 1000)
        processes.limit_log(log, 1000)
        writer.write(b"new line\n")
    assert log.read_text() == "new line\n"
    assert processes.tail(tmp_path / "web.log.1", lines=2) == "old line\nold line"
    assert processes.tail(tmp_path / "none.log") == ""
