"""One registry, asked over its HTTP API. What it says is checked against its digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx

from pipelines.executors.connections import Registry
from pipelines.executors.oci import auth
from pipelines.executors.oci.errors import Credential, RegistryError
from pipelines.executors.oci.transport import PATIENCE, Patience, Transport, said

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the registry holds it. `config` is the digest of the image's configuration, "" for an index;
    `blobs` maps the digests of what it is made of to sizes in bytes."""

    digest: str
    config: str = ""
    blobs: Mapping[str, int] = field(default_factory=dict)


class RegistryClient:
    """Use it in a `with`. Not for several threads. Every call may raise one of the errors of `errors`.

    `stopping` is asked while it waits for another try; once it is true, the last error is raised at once.
    """

    def __init__(
        self,
        registry: Registry,
        credential: Credential | None = None,
        *,
        patience: Patience = PATIENCE,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.registry, self.credential = registry, credential
        self._transport = Transport(registry, patience, stopping)
        self._challenge: auth.Challenge | None = None
        self._tokens: dict[tuple[str, ...], auth.Token] = {}

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    # --- what it is asked -----------------------------------------------------------------------------------

    def ping(self) -> auth.Challenge | None:
        """What the registry asks of those who come without a credential; None if nothing."""
        answer = self._transport.send(httpx.Request("GET", f"{self._transport.base}/v2/"))
        if answer.status_code == 401:
            challenge = auth.challenge_of(answer.headers.get_list("www-authenticate"))
            if challenge is None:
                raise RegistryError(
                    f"The registry {self.registry.address} answered 401 and asks for neither basic nor bearer "
                    "authentication; others are not known here."
                )
            return challenge
        if answer.status_code != 200:
            raise RegistryError(
                f"{self._transport.base}/v2/ answered {answer.status_code}; expected 200 or 401: is this a registry?"
            )
        return None

    def check_push(self, repository: str) -> None:
        """Begin an upload and give it up again. Raises RegistryRefused when this credential may not push there."""
        scopes = tuple(push_scopes([repository]))
        answer = self._ask("POST", f"/v2/{repository}/blobs/uploads/", scopes, "pushing", (202,))
        place = urljoin(str(answer.request.url), answer.headers.get("location", ""))
        if place.startswith(self._transport.base + "/"):
            # Some registries want more than the right to push for this; then their own cleaning finds it.
            self._transport.follow("DELETE", place, self._authorization(scopes, renew=False))

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest with this tag or digest, its digest computed here; None if there is none.

        Raises RegistryError when the registry answers another content than the digest that was asked for, or names
        another digest than its content has.
        """
        accept = {"Accept": ", ".join(MANIFESTS)}
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self._ask("GET", path, pull_scopes([repository]), "reading", (200, 404), accept)
        if answer.status_code == 404:
            return None
        found = "sha256:" + hashlib.sha256(answer.content).hexdigest()
        named = answer.headers.get("docker-content-digest", found)
        if named != found or (":" in reference and reference != found):
            raise RegistryError(
                f"The registry {self.registry.address} answered {repository}:{reference} with a manifest that it "
                f"names {named}, but whose digest is {found}. Something between here and there changes contents."
            )
        return _manifest(found, answer)

    def tags(self, repository: str) -> list[str]:
        """All tags, sorted; empty for a repository that is not there."""
        return sorted(tag for page in self._pages(f"/v2/{repository}/tags/list?n=500", repository) for tag in page)

    def delete(self, repository: str, digest: str) -> bool:
        """Delete a manifest by its digest, with all tags that name it. False if it was gone already."""
        path = f"/v2/{repository}/manifests/{digest}"
        scopes = [f"repository:{repository}:delete,pull"]
        answer = self._ask("DELETE", path, scopes, "deleting", (202, 404, 405))
        if answer.status_code == 405:
            raise RegistryError(
                f"The registry {self.registry.address} does not let images be deleted. Debian's docker-registry "
                "does with `storage: {delete: {enabled: true}}`."
            )
        return answer.status_code == 202

    def engine_auth(self, repositories: Iterable[str]) -> dict[str, str]:
        """What a Docker Engine has to be given to push to these repositories: a token where the registry works
        with tokens, so that the password goes no further than here, else the password; empty if nothing is
        asked for."""
        self._challenge = self._challenge or self.ping()
        if self._challenge is None or (self._challenge.scheme == "basic" and self.credential is None):
            return {}
        if self._challenge.scheme == "bearer":
            return {"registrytoken": self._token(push_scopes(repositories), renew=True).text}
        assert self.credential is not None  # noqa: S101 - for the type checker
        return {
            "username": self.credential.username,
            "password": self.credential.password,
            "serveraddress": self.registry.address,
        }

    def secrets(self) -> list[str]:
        """Everything that must not be shown in what anybody says about this registry."""
        found = [token.text for token in self._tokens.values()]
        if self.credential is not None:
            pair = f"{self.credential.username}:{self.credential.password}"
            found += [pair, self.credential.password, self.credential.username]
        return found

    # --- how it is asked ------------------------------------------------------------------------------------

    def _pages(self, path: str, repository: str) -> Iterator[list[str]]:
        seen = {path}
        while True:
            answer = self._ask("GET", path, pull_scopes([repository]), "listing tags", (200, 404))
            if answer.status_code == 404:
                return
            yield [str(tag) for tag in (_json(answer).get("tags") or ())]
            following = _NEXT.search(answer.headers.get("link", ""))
            if not following:
                return
            path = urljoin(str(answer.request.url), following[1]).removeprefix(self._transport.base)
            if not path.startswith("/") or path in seen:
                return
            seen.add(path)

    def _ask(
        self,
        method: str,
        path: str,
        scopes: Iterable[str],
        doing: str,
        expected: Iterable[int],
        headers: Mapping[str, str] = {},
    ) -> httpx.Response:
        """One answer with an expected status; signs in if asked to, once more if its token has ended."""
        scopes = tuple(scopes)
        place = path.partition("?")[0]
        for renew in (False, True):
            signed = dict(headers) | self._authorization(scopes, renew=renew)
            answer = self._transport.follow(method, self._transport.base + path, signed)
            if answer.status_code != 401 or (self._challenge is not None and self._challenge.scheme == "basic"):
                break
            self._challenge = auth.challenge_of(answer.headers.get_list("www-authenticate")) or self._challenge
        if answer.status_code in (401, 403):
            raise auth.refused(self.registry.address, self.credential, answer.status_code, f"{doing} {place}")
        if answer.status_code not in expected:
            raise RegistryError(
                f"The registry {self.registry.address} answered {answer.status_code} when {doing} {place}: "
                f"{said(answer)}"
            )
        return answer

    def _authorization(self, scopes: tuple[str, ...], *, renew: bool) -> dict[str, str]:
        if self._challenge is None:
            self._challenge = self.ping()
        if self._challenge is None:
            return {}
        if self._challenge.scheme == "basic":
            return auth.basic(self.credential)
        return {"Authorization": f"Bearer {self._token(scopes, renew=renew).text}"}

    def _token(self, scopes: Iterable[str], *, renew: bool) -> auth.Token:
        scopes = tuple(scopes)
        kept = self._tokens.get(scopes)
        if kept is None or renew or not kept.fresh:
            assert self._challenge is not None  # noqa: S101 - for the type checker
            kept = auth.fetch_token(self._transport.send, self.registry, self._challenge, self.credential, scopes)
            self._tokens[scopes] = kept
        return kept


def pull_scopes(repositories: Iterable[str]) -> list[str]:
    return [f"repository:{name}:pull" for name in repositories]


def push_scopes(repositories: Iterable[str]) -> list[str]:
    return [f"repository:{name}:pull,push" for name in sorted(set(repositories))]


def _manifest(digest: str, answer: httpx.Response) -> Manifest:
    content = _json(answer)
    parts = [part for part in (content.get("config"), *(content.get("layers") or ())) if isinstance(part, dict)]
    return Manifest(
        digest=digest,
        config=str((content.get("config") or {}).get("digest", "")),
        blobs={str(part.get("digest")): int(part.get("size") or 0) for part in parts},
    )


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RegistryError(f"{answer.request.url} answered no JSON object; is this a registry?")
    return found
