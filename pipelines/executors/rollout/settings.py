"""The `with` mapping of a rollout stage, checked and turned into dataclasses.

with:
  services:
    backend: {artifact: build-backend, command: [python, -m, shop, --port, "{port}"], route: /, replicas: 2,
              health: /healthz, env: {...}, secrets: {SECRET_KEY: shop-secret-key}, drain: 5s}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 30s}}, {verify: {...}}, {pause: {}}]}}
  errors: frontend          # this service's /errors/STATUS.html instead of a gateway error
  progressDeadline: 60s     # for each step
  release: NAME             # instead of services: go back to a release that was kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.definition import forms
from pipelines.definition.durations import DurationError, parse_duration
from pipelines.executors.base import Artifact, PlanError, StageSpec
from pipelines.executors.rollout import strategy
from pipelines.executors.rollout.release import Service
from pipelines.executors.verify.settings import Settings as VerifySettings

_NAME, _VARIABLE, _PATH = (forms.written(form) for form in (forms.SERVICE, forms.VARIABLE, forms.PREFIX))
_SERVICE_KEYS = {"artifact", "command", "route", "replicas", "health", "env", "secrets", "drain"}
_KEYS = {"services", "strategy", "errors", "progressDeadline", "release", "rollback_to", "target", "_retry"}


@dataclass(frozen=True, slots=True)
class Settings:
    """`release` is the kept release to go back to, "" for a new one, which then consists of `services`."""

    services: Mapping[str, Service]
    steps: tuple[strategy.Step, ...]
    strategy: str = "rolling"
    dynamic_stable: bool = False
    errors: str = ""
    deadline: float = 60.0
    release: str = ""


def parse(spec: StageSpec) -> Settings:
    """Raises PlanError that names the place in `with`, what was found and what was expected."""
    data = spec.with_
    _only(data, _KEYS, "with")
    if data.get("target", "local") != "local":
        raise PlanError(f"with.target is {data['target']!r}; this engine has the target local only.")
    deadline = duration(data.get("progressDeadline", 60), "with.progressDeadline")
    release = str(data.get("rollback_to") or data.get("release") or "")
    if release:
        return Settings({}, strategy.rollback(), "rollback", deadline=deadline, release=release)
    services = _mapping(data.get("services"), "with.services")
    if not services:
        raise PlanError("with.services is empty; a release needs at least one service.")
    parsed = {name: _service(spec, name, value) for name, value in services.items()}
    _one_for_each_route(parsed)
    name, steps, dynamic = parse_strategy(data.get("strategy"))
    errors = data.get("errors") or ""
    errors = errors.get("service", "") if isinstance(errors, Mapping) else str(errors)
    if errors and errors not in parsed:
        raise PlanError(f"with.errors names {errors!r}, which is none of the services {', '.join(parsed)}.")
    return Settings(parsed, steps, name, dynamic, errors, deadline)


def _one_for_each_route(services: Mapping[str, Service]) -> None:
    taken: dict[str, str] = {}
    for name, service in services.items():
        if service.route[:1] == "/" and (other := taken.setdefault(service.route, name)) != name:
            raise PlanError(
                f"with.services.{name}.route is {service.route}, as that of {other}; a route leads to one service."
            )


def parse_strategy(value: Any) -> tuple[str, tuple[strategy.Step, ...], bool]:
    """(name, steps, whether the stable set shrinks) of `with.strategy`; rolling where there is none."""
    value = _mapping({"rolling": {}} if value is None else value, "with.strategy")
    if len(value) != 1:
        raise PlanError("with.strategy needs exactly one of rolling, canary, blueGreen and rollback.")
    name, options = next(iter(value.items()))
    options = _mapping(options or {}, f"with.strategy.{name}")
    if name == "rolling":
        return name, _rolling(options), False
    if name == "canary":
        _only(options, {"steps", "dynamicStableScale"}, "with.strategy.canary")
        steps = _steps(options.get("steps", ()), "with.strategy.canary.steps")
        return name, strategy.canary(steps), bool(options.get("dynamicStableScale", False))
    if name == "blueGreen":
        _only(options, {"keep", "steps"}, "with.strategy.blueGreen")
        keep = duration(options.get("keep", 0), "with.strategy.blueGreen.keep")
        steps = _steps(options.get("steps", ()), "with.strategy.blueGreen.steps", weights=False)
        return name, strategy.blue_green(keep, steps), False
    if name == "rollback":
        return name, strategy.rollback(), False
    raise PlanError(f"with.strategy.{name} is unknown; it is one of rolling, canary, blueGreen and rollback.")


def duration(value: Any, place: str) -> float:
    """Seconds of a number, or of text such as 5s, 500ms, 1m30s, 2h."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    try:
        return parse_duration(str(value))
    except DurationError as error:
        raise PlanError(f"{place}: {error}.") from None


def whole(value: Any, place: str, least: int, most: int) -> int:
    """A whole number, also as text: a parameter of the pipeline file is filled in as text."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not least <= int(text) <= most:
        raise PlanError(f"{place} is {value!r}; expected a whole number from {least} to {most}.")
    return int(text)


def _rolling(options: Mapping[str, Any]) -> tuple[strategy.Step, ...]:
    _only(options, {"maxSurge", "maxUnavailable"}, "with.strategy.rolling")
    surge, unavailable = options.get("maxSurge", "25%"), options.get("maxUnavailable", "25%")
    for limit in (surge, unavailable):
        try:
            strategy.resolve(limit, 1, up=True)
        except ValueError as error:
            raise PlanError(f"with.strategy.rolling: {error}") from None
    return strategy.rolling(surge, unavailable)


def _steps(value: Any, place: str, *, weights: bool = True) -> tuple[strategy.Step, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise PlanError(f"{place} is {value!r}; expected a list of steps.")
    return tuple(_step(step, f"{place}[{index}]", weights=weights) for index, step in enumerate(value))


def _step(value: Any, place: str, *, weights: bool) -> strategy.Step:
    allowed = ("setWeight", "pause", "verify") if weights else ("pause", "verify")
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in allowed:
        raise PlanError(f"{place} is {value!r}; expected exactly one of {', '.join(allowed)}.")
    name, options = next(iter(value.items()))
    if name == "setWeight":
        return strategy.SetWeight(whole(options, f"{place}.setWeight", 0, 100))
    options = _mapping(options or {}, f"{place}.{name}")
    if name == "verify":
        try:
            VerifySettings.of(options)
        except PlanError as error:
            raise PlanError(f"{place}.verify: {error}") from None
        return strategy.Verify(options)
    _only(options, {"duration"}, f"{place}.pause")
    if "duration" not in options:
        return strategy.Pause()
    return strategy.Pause(duration(options["duration"], f"{place}.pause.duration"))


def _service(spec: StageSpec, name: str, value: Any) -> Service:
    place = f"with.services.{name}"
    if not _NAME.fullmatch(str(name)):
        raise PlanError(f"{place}: a service's name has lower-case letters, digits and - between them.")
    value = _mapping(value, place)
    _only(value, _SERVICE_KEYS, place)
    artifact = _artifact(spec, str(value.get("artifact", name)), place)
    command = value.get("command")
    if not isinstance(command, Sequence) or isinstance(command, str) or not command:
        raise PlanError(f"{place}.command is {command!r}; expected a list: the program and its arguments.")
    route = str(value.get("route", ""))
    if route not in ("", forms.ASSETS) and not _PATH.fullmatch(route):
        raise PlanError(f"{place}.route is {route!r}; expected a path prefix such as /, or {forms.ASSETS}.")
    health = value.get("health", "/healthz")
    if isinstance(health, Mapping):
        _only(health, {"path"}, f"{place}.health")
    health = str(health.get("path", "/healthz") if isinstance(health, Mapping) else health)
    if not _PATH.fullmatch(health):
        raise PlanError(f"{place}.health is {health!r}; expected a path such as /healthz.")
    return Service(
        artifact=artifact.name,
        digest=artifact.digest,
        command=tuple(str(word) for word in command),
        route=route,
        replicas=whole(value.get("replicas", 1), f"{place}.replicas", 1, forms.MOST_REPLICAS),
        health=health,
        env=_variables(value.get("env"), f"{place}.env"),
        secrets=_variables(value.get("secrets"), f"{place}.secrets"),
        team=spec.owner,
        drain=duration(value.get("drain", 5), f"{place}.drain"),
    )


def _artifact(spec: StageSpec, name: str, place: str) -> Artifact:
    found = spec.artifacts.get(name)
    if found is None:
        known = ", ".join(sorted(spec.artifacts)) or "none"
        raise PlanError(
            f"{place}.artifact is {name!r}, but the stages that this one needs made {known}. "
            "Add the stage that makes it to `needs`."
        )
    if found.kind != "slug":
        raise PlanError(f"{place}.artifact {name!r} is of kind {found.kind}; the local target runs slugs.")
    return found


def _variables(value: Any, place: str) -> dict[str, str]:
    values = _mapping(value or {}, place)
    for name in values:
        if not _VARIABLE.fullmatch(str(name)):
            raise PlanError(f"{place}: {name!r} is no name of a variable.")
    return {str(name): str(text) for name, text in values.items()}


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{place} is {value!r}; expected a mapping.")
    return value


def _only(value: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(set(map(str, value)) - known)
    if unknown:
        expected = ", ".join(sorted(name for name in known if not name.startswith("_")))
        raise PlanError(f"{place} has the unknown key {unknown[0]!r}; known are {expected}.")
