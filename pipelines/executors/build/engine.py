"""The one door to the Docker Engine's API: is it there, what is in an image, which of ours are old."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.client import DockerClient

_HOW_IT_RUNS = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
PATIENCE = 15  # seconds for one answer of the engine


class EngineAwayError(Exception):
    """The engine does not answer; the message says which one, what it said and what to do."""


@dataclass(frozen=True, slots=True)
class Layer:
    size: int
    made_by: str


@dataclass(frozen=True, slots=True)
class Image:
    """`id` is the engine's name for it, "sha256:" and 64 hex digits; `size` and those of its layers are in bytes.
    `content` is the digest of what it holds and how it runs, its labels and times aside."""

    id: str
    size: int
    layers: tuple[Layer, ...]
    content: str = ""


class Engine:
    """`host` is an address such as unix:///var/run/docker.sock, or "" for the client's own default."""

    def __init__(self, host: str) -> None:
        self.host = host

    @property
    def name(self) -> str:
        return self.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"

    def ping(self) -> None:
        """Raises EngineAwayError."""
        with self._answering():
            self._client.ping()

    def about(self) -> dict[str, Any]:
        """What it says about itself: ServerVersion, NCPU, MemTotal, Driver and more. Raises EngineAwayError."""
        with self._answering():
            return self._client.info()

    def plain(self, hosts: Iterable[str]) -> list[str]:
        """Of these registries, HOST[:PORT], those that the engine would also speak plain http to."""
        known = (self.about() if (hosts := sorted(hosts)) else {}).get("RegistryConfig") or {}
        return [host for host in hosts if _is_plain(host, known)]

    def image(self, reference: str) -> Image | None:
        """An image with the layers that hold something, the base's first; None where there is none."""
        from docker.errors import ImageNotFound

        with self._answering():
            try:
                found = self._client.images.get(reference)
            except ImageNotFound:
                return None
            layers = [Layer(int(each["Size"]), _made_by(each["CreatedBy"])) for each in found.history() if each["Size"]]
        return Image(str(found.id), int(found.attrs["Size"]), tuple(reversed(layers)), _content(found.attrs))

    def tag(self, image: str, tag: str) -> None:
        with self._answering():
            self._client.images.get(image).tag(tag)

    def tags(self, repository: str) -> list[str]:
        """The images of a repository as REPOSITORY:TAG, the newest first."""
        with self._answering():
            found = self._client.images.list(name=repository)
        found.sort(key=lambda image: str(image.attrs.get("Created")), reverse=True)
        return [tag for image in found for tag in sorted(image.tags) if tag.startswith(f"{repository}:")]

    def forget(self, reference: str) -> None:
        """Remove a name, and the image with it where it has no other and nothing uses it."""
        from docker.errors import APIError

        with self._answering():
            try:
                self._client.images.remove(reference, noprune=False)
            except APIError as error:
                # In use, or forgotten by somebody else meanwhile.
                if error.status_code not in (404, 409):
                    raise

    @cached_property
    def _client(self) -> DockerClient:
        from docker.client import DockerClient  # a quarter of a second

        # TLS settings come from the environment, as they do for the command line.
        return DockerClient.from_env(timeout=PATIENCE, environment={**os.environ, "DOCKER_HOST": self.name})

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            yield
        except APIError as error:
            if error.status_code is None or error.status_code < 500:
                raise
            raise EngineAwayError(self._away(error)) from error
        except (DockerException, RequestException, OSError) as error:
            raise EngineAwayError(self._away(error)) from error

    def _away(self, error: Exception) -> str:
        said = " ".join(str(error).split())[:300]
        return (
            f"The Docker Engine at {self.name} does not answer ({said}). "
            "Start it, or correct `docker.host` in connections.yaml; this goes on by itself then."
        )


def _is_plain(host: str, known: Mapping[str, Any]) -> bool:
    """`known` is the RegistryConfig of the engine."""
    listed = (known.get("IndexConfigs") or {}).get(host)
    name = host.rpartition(":")[0] or host
    if listed is not None and not listed.get("Secure", True):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    nets = (ipaddress.ip_network(net, strict=False) for net in known.get("InsecureRegistryCIDRs") or ())
    return address.is_loopback or any(address.version == net.version and address in net for net in nets)


def _content(attributes: Mapping[str, Any]) -> str:
    config = attributes.get("Config") or {}
    runs = {name: config.get(name) for name in _HOW_IT_RUNS}
    held = [attributes.get("Os"), attributes.get("Architecture"), attributes["RootFS"].get("Layers"), runs]
    return "sha256:" + hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def _made_by(created_by: str) -> str:
    """The instruction, as people wrote it."""
    text = " ".join(created_by.split())
    text = text.removeprefix("/bin/sh -c #(nop) ").removesuffix(" # buildkit").strip()
    run = re.sub(r"^(?:RUN )?(?:\|\d+ .*?)?/bin/sh -c ", "RUN ", text)
    return run[:160] or "the base image"
