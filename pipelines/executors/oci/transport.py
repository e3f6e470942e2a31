"""Sending requests to one registry: over TLS only, again while it cannot answer, and never with a credential along a
redirect."""

from __future__ import annotations

import email.utils
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urljoin

import httpx

from pipelines.executors.connections import Registry
from pipelines.executors.oci.errors import RegistryAway, RegistryError
from pipelines.executors.oci.names import api_host

LARGEST = 8 * 2**20  # bytes of an answer; the protocol wants manifests of up to 4 MiB to work
REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with a registry. `tries` in all; `first` and `longest` pause and `timeout` in seconds."""

    tries: int = 5
    first: float = 0.5
    longest: float = 15.0
    timeout: float = 30.0

    def pause(self, tried: int, wanted: float = 0.0) -> float:
        """Seconds to wait after `tried` tries; `wanted` is what Retry-After said."""
        own = min(self.longest, self.first * 2 ** (tried - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
        return min(max(own, wanted), 60.0)


PATIENCE = Patience()


class Transport:
    """Not for several threads. `stopping` is asked while it waits for another try; once it is true, the last error
    is raised at once."""

    def __init__(self, registry: Registry, patience: Patience, stopping: Callable[[], bool]) -> None:
        self.registry, self.base = registry, f"https://{api_host(registry.address)}"
        self._patience, self._stopping = patience, stopping
        self._http = httpx.Client(verify=_trust(registry), timeout=patience.timeout, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def follow(self, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer after redirects. Another host than the registry's gets no Authorization."""
        sent = dict(headers)
        for _ in range(REDIRECTS):
            answer = self.send(self._http.build_request(method, url, headers=sent))
            if method not in ("GET", "HEAD") or not answer.has_redirect_location:
                return answer
            url = urljoin(url, answer.headers["location"])
            if not url.startswith("https://"):
                raise RegistryError(f"The registry {self.registry.address} leads to {url!r}; expected https.")
            if not url.startswith(self.base + "/"):
                sent.pop("Authorization", None)
        raise RegistryError(f"The registry {self.registry.address} redirects more than {REDIRECTS} times: {url}")

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send until there is an answer other than 429 and 5xx. Raises RegistryAway after the last try."""
        tried = 0
        while True:
            tried += 1
            wanted = 0.0
            try:
                answer = self._once(request)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                why = self._unreachable(request, error)
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                why = f"{self._who(request)} answers {answer.status_code}: {said(answer)}"
                wanted = _retry_after(answer)
            if tried >= self._patience.tries or not self._sleep(self._patience.pause(tried, wanted)):
                raise RegistryAway(why)

    def _once(self, request: httpx.Request) -> httpx.Response:
        with self._http.stream(
            request.method, request.url, headers=request.headers, content=request.read(), follow_redirects=False
        ) as answer:
            content = b""
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > LARGEST:
                    raise RegistryError(f"{request.url} answers with more than {LARGEST} bytes.")
        headers = [(k, v) for k, v in answer.headers.raw if k.lower() not in (b"content-encoding", b"content-length")]
        return httpx.Response(answer.status_code, headers=headers, content=content, request=request)

    def _unreachable(self, request: httpx.Request, error: Exception) -> str:
        """In words. Raises RegistryError for what another try would not change."""
        tls = _cause(error, ssl.SSLError)
        address = self.registry.address
        if isinstance(tls, ssl.SSLCertVerificationError):
            raise RegistryError(
                f"The certificate of {request.url.netloc.decode()} is not trusted: {tls.verify_message}. If an "
                f"authority of your own signed it, name its file as `ca` of registries.{address} in connections.yaml."
            ) from None
        if tls is not None and tls.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            raise RegistryError(
                f"The registry {address} does not speak TLS; credentials and images are only sent over TLS."
            ) from None
        return f"{self._who(request)} cannot be reached: {str(error) or type(error).__name__}"

    def _who(self, request: httpx.Request) -> str:
        host = request.url.netloc.decode()
        own = f"https://{host}" == self.base
        return f"The registry {self.registry.address}" + ("" if own else f" sent us to {host}, which")

    def _sleep(self, seconds: float) -> bool:
        """False as soon as somebody wants the work to end."""
        deadline = time.monotonic() + seconds
        while not self._stopping():
            if (left := deadline - time.monotonic()) <= 0:
                return True
            time.sleep(min(0.1, left))
        return False


def _trust(registry: Registry) -> ssl.SSLContext:
    """The system's certificates, and those of the registry's own authority."""
    try:
        return _context(registry.ca, registry.ca.stat().st_mtime_ns if registry.ca else 0)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(
            f"registries.{registry.address}.ca in connections.yaml is {registry.ca}, which cannot be used: {error}. "
            "Expected a file of PEM certificates."
        ) from None


@lru_cache(maxsize=16)
def _context(ca: Path | None, changed: int) -> ssl.SSLContext:
    """Kept while the file stays as it is: to read the system's certificates takes longer than to ask a registry."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    return context


def said(answer: httpx.Response) -> str:
    """The registry's own words, at most 300 characters."""
    try:
        words = [f"{one.get('code', '')}: {one.get('message', '')}" for one in json.loads(answer.content)["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        words = [answer.reason_phrase or "it gives no reason"]
    return "; ".join(words)[:300]


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the Retry-After header asks for; 0 without one."""
    text = answer.headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _cause(error: BaseException | None, kind: type[ssl.SSLError]) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
