"""The Docker Engine's side of a push: which image, under which name, and what the engine says meanwhile."""

from __future__ import annotations

import base64
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipelines.executors.connections import Docker

if TYPE_CHECKING:
    from docker.api.client import APIClient

LOOK = 0.1  # seconds between looks at whether the work shall end
# Seconds without a word from the engine after which a push is cut off and begun again. While bytes flow it speaks
# several times a second; this long it is only silent when the registry does not answer.
SILENCE = 120.0


class EngineAway(Exception):
    """The Docker Engine does not answer."""


class EngineSaidNo(Exception):
    """The push failed; the message is the engine's, or tells what it did."""


class Stopped(Exception):
    """Somebody wants the work to end, and the push has been cut off."""


def connect(docker: Docker) -> APIClient:
    """A client of the engine that connections.yaml names. Raises EngineAway."""
    # It takes a while, and most work needs none.
    import requests
    from docker.api.client import APIClient
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    # TLS settings come from the environment, as they do for the command line.
    known = {**os.environ, "DOCKER_HOST": docker.host} if docker.host else None
    try:
        return APIClient(version="auto", timeout=30, **kwargs_from_env(environment=known))
    except (DockerException, requests.RequestException) as error:
        raise EngineAway(f"The Docker Engine {where(docker)} does not answer: {error}") from None


def where(docker: Docker) -> str:
    return f"at {docker.host}" if docker.host else "of this machine"


class Door:
    """One engine. Every call raises EngineAway when it does not answer."""

    def __init__(self, docker: Docker) -> None:
        self.docker, self._client = docker, connect(docker)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def tag(self, image: str, name: str, tag: str) -> bool:
        """Name an image for a push. False if the engine has no such image."""
        return self._ask(lambda: self._client.tag(image, name, tag)) is not None

    def untag(self, name: str, tag: str) -> None:
        """Take that name away again, unless the image would go with it."""
        found = self._ask(lambda: self._client.inspect_image(f"{name}:{tag}"))
        if found and len(found.get("RepoTags") or ()) > 1:
            self._ask(lambda: self._client.remove_image(f"{name}:{tag}", noprune=True))

    def push(
        self, name: str, tag: str, signed_in: Mapping[str, str], stopping: Callable[[], bool], silence: float = SILENCE
    ) -> Iterator[dict[str, Any]]:
        """What the engine says while it pushes, piece by piece; see `layers`.

        Raises EngineSaidNo when it gives up or falls silent, Stopped once `stopping` is true. The push ends with
        this generator, however that ends.
        """
        import requests
        from docker.types import CancellableStream

        header = base64.urlsafe_b64encode(json.dumps(dict(signed_in)).encode()).decode()
        client = self._client
        try:
            response = client.post(
                f"{client.base_url}/v{client.api_version}/images/{name}/push",
                params={"tag": tag}, headers={"X-Registry-Auth": header}, stream=True, timeout=(30, None),
            )  # fmt: skip
        except requests.RequestException as error:
            raise self._away(error) from None
        if response.status_code != 200:
            with response:
                raise EngineSaidNo(_message(response.text) or f"the engine answered {response.status_code}")
        stream = CancellableStream(response.iter_lines(), response)
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(stream, said), daemon=True)
        reader.start()
        try:
            yield from self._listen(said, stopping, silence)
        finally:
            with suppress(Exception):  # it may be closed already, and not every transport can be cut
                stream.close()
            response.close()
            reader.join(5)

    def _listen(
        self, said: queue.SimpleQueue[Any], stopping: Callable[[], bool], silence: float
    ) -> Iterator[dict[str, Any]]:
        heard = time.monotonic()
        while True:
            if stopping():
                raise Stopped
            try:
                word = said.get(timeout=LOOK)
            except queue.Empty:
                if time.monotonic() - heard > silence:
                    raise EngineSaidNo(f"timeout: nothing moved for {silence:g} s") from None
                continue
            heard = time.monotonic()
            if word is None:
                return
            if isinstance(word, Exception):
                raise self._away(word)
            if "error" in word:
                raise EngineSaidNo(str((word.get("errorDetail") or {}).get("message") or word["error"]))
            yield word

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer; None for what the engine does not have."""
        import requests
        from docker.errors import APIError, NotFound

        try:
            return question()
        except NotFound:
            return None
        except APIError as error:
            raise EngineSaidNo(f"the engine answered: {error.explanation or error}") from None
        except requests.RequestException as error:
            raise self._away(error) from None

    def _away(self, error: Exception) -> EngineAway:
        return EngineAway(f"The Docker Engine {where(self.docker)} does not answer any more: {error}")


def _read(stream: Iterator[bytes], said: queue.SimpleQueue[Any]) -> None:
    """Hand over every word, then None or the error that ended it."""
    try:
        for line in stream:
            if line.strip():
                said.put(json.loads(line))
    except Exception as error:
        said.put(error)
    else:
        said.put(None)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
