"""Pushing one image: the engine does it, and we say with what, for how long, and whether it is true.

The engine's words about an error are only read to tell what may pass by itself from what will not. Whether a credential
is refused we ask the registry ourselves, whose answers have a status.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.executors.base import Artifact, Log, Progress
from pipelines.executors.masks import Masker
from pipelines.executors.oci.client import RegistryClient
from pipelines.executors.oci.errors import RegistryAway, RegistryError, RegistryRefused
from pipelines.executors.oci.transport import PATIENCE, Patience
from pipelines.executors.publish.engine import SILENCE, Door, EngineSaidNo, Stopped
from pipelines.executors.publish.layers import Layers
from pipelines.executors.publish.wanted import Target, component

EVERY = 0.5  # seconds between two words about progress

Trouble = Literal["untrusted", "refused", "passing", "lasting"]

_TROUBLE: tuple[tuple[Trouble, re.Pattern[str]], ...] = (
    ("untrusted", re.compile(r"x509|certificate signed by|server gave HTTP response to HTTPS", re.IGNORECASE)),
    ("refused", re.compile(r"unauthorized|denied|forbidden|no basic auth|authentication required", re.IGNORECASE)),
    (
        "passing",
        re.compile(
            r"\b(?:429|5\d\d)\b|too ?many ?requests|time-?d? ?out|timeout|deadline|EOF|connection|refused|reset|"
            r"no such host|unreachable|broken pipe|without a word|i/o|unavailable|unknown: unknown error",
            re.IGNORECASE,
        ),
    ),
)


def trouble(message: str) -> Trouble:
    """What kind of trouble an engine's message tells of."""
    return next((kind for kind, pattern in _TROUBLE if pattern.search(message)), "lasting")


def tag_of(image: Artifact, commit: str) -> str:
    """The tag under which an image is pushed: of its content, so that it never names another one."""
    return f"{commit[:12]}-{image.digest.removeprefix('sha256:')[:12]}"


@dataclass
class Push:
    """The push of one image to `target`. `repositories` are all that this stage pushes to, so that layers one of
    them has can be taken over by the others. `before` is what `told` said of the images that were pushed already."""

    door: Door
    registry: RegistryClient
    target: Target
    image: Artifact
    tag: str
    repositories: Iterable[str]
    stopping: Callable[[], bool]
    patience: Patience = PATIENCE
    silence: float = SILENCE
    layers: Layers = field(default_factory=Layers)
    before: Sequence[Mapping[str, Any]] = ()

    def run(self) -> Generator[Log | Progress, None, str]:
        """Push until it is done; returns HOST/REPOSITORY@DIGEST.

        Raises RegistryAway, RegistryRefused, RegistryError, EngineAway or Stopped.
        """
        name, tried, began = self.target.name(self.image), 0, time.monotonic()
        kinds: list[Trouble] = []
        while True:
            tried += 1
            try:
                yield from self._once()
            except EngineSaidNo as error:
                words = self._masked(str(error))
            else:
                break
            kinds.append(trouble(words))
            pause = self._give_up_or_pause(kinds, words)
            yield Log(f"{component(self.image)}: {words}; trying again in {pause:.1f} s\n")
            self._wait(pause)
        self._check()
        self.door.untag(name, self.tag)
        yield Log(self._summary(time.monotonic() - began))
        return f"{name}@{self.layers.digest}"

    def _once(self) -> Generator[Log | Progress, None, None]:
        name = self.target.name(self.image)
        if not self.door.tag(self.image.digest, name, self.tag):
            raise RegistryError(
                f"The Docker Engine has no image {self.image.digest} any more, which {self.image.name} built. "
                "Run that stage again."
            )
        self.layers = Layers()
        signed_in = self.registry.engine_auth(self.repositories)
        told = 0.0
        for word in self.door.push(name, self.tag, signed_in, self.stopping, self.silence):
            self.layers.hear(word)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                yield self._progress()
        if not self.layers.digest:
            raise EngineSaidNo("the engine ended the push without a word")
        yield self._progress()

    def _give_up_or_pause(self, kinds: list[Trouble], words: str) -> float:
        """How long to wait before the next try, in seconds; raises what the stage ends with if there is none."""
        address, kind = self.target.registry, kinds[-1]
        if kind == "untrusted":
            raise RegistryError(
                f"The Docker Engine does not trust the registry {address}: {words}. Put the certificate of its "
                f"authority on the engine's machine, as /etc/docker/certs.d/{address}/ca.crt."
            )
        # Says with a status what the engine says in words, and raises for what will not pass.
        self.registry.check_push(self.target.of(self.image))
        if kinds.count("refused") > 1 and kind == "refused":
            source = self.registry.credential.source if self.registry.credential else "no credential"
            raise RegistryRefused(
                f"The registry {address} refuses the engine's push of {self.target.of(self.image)} with {source}: "
                f"{words}. If it gives short-lived tokens, have them live longer than the largest layer takes."
            )
        if len(kinds) >= self.patience.tries:
            said = f"Pushing {self.target.name(self.image)} failed {len(kinds)} times: {words}"
            raise RegistryAway(said) if kind == "passing" else RegistryError(said)
        return self.patience.pause(len(kinds))

    def _check(self) -> None:
        """What the registry holds under the digest is the very image that was built."""
        where, digest = self.target.of(self.image), self.layers.digest
        held = self.registry.manifest(where, digest)
        if held is None:
            raise RegistryError(
                f"The engine says that {self.target.name(self.image)}@{digest} was pushed, but the registry has no "
                "such manifest. Is something that caches between the two?"
            )
        if self.image.digest not in (held.config, held.digest):
            raise RegistryError(
                f"The registry holds {held.config or held.digest} as {self.target.name(self.image)}@{digest}; "
                f"expected the image {self.image.digest} that {self.image.name} built."
            )

    def _progress(self) -> Progress:
        found, what = self.layers, component(self.image)
        total = len(found.layers)
        return Progress(
            f"pushing {what}: {found.finished} of {total} layers, {_megabytes(found.sent)} sent",
            done=found.finished,
            total=total or None,
            data={"images": [*self.before, self.told()]},
        )

    def told(self) -> dict[str, Any]:
        """How far it is: {"component", "digest", "" until it is known, "layers" as `Layers.as_list`}."""
        found = self.layers
        return {"component": component(self.image), "digest": found.digest, "layers": found.as_list()}

    def _summary(self, seconds: float) -> str:
        found = self.layers
        return (
            f"{component(self.image)}: {len(found.layers)} layers, {found.there} of them there already, "
            f"{_megabytes(found.sent)} sent in {seconds:.1f} s: {self.target.name(self.image)}@{found.digest}\n"
        )

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.stopping():
                raise Stopped
            time.sleep(min(0.1, left))

    def _masked(self, text: str) -> str:
        return Masker(self.registry.secrets()).mask(text)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
