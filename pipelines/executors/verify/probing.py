"""One request to one page.

Each has a connection of its own, like a customer who comes for the first time: an open one would stay with
the replica that it began with, and hide a router that refuses.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from urllib.parse import urljoin, urlsplit

from pipelines.executors.verify.samples import Sample
from pipelines.executors.verify.settings import Settings

LARGEST_BODY = 2**20
MOST_REDIRECTS = 5
ASK_HEADER, ANSWER_HEADER = "X-Burger-Release", "X-Release"

# The site's doing. Every other OSError (no file descriptor left, no network) is this machine's.
_REFUSALS = (ConnectionError, http.client.HTTPException, TimeoutError)


def probe(base_url: str, path: str, asked: str, settings: Settings) -> Sample:
    """Ask for one page. Redirects are followed on the same host only; the time includes them. `at` is left to
    the caller."""
    began = time.monotonic()
    status, served, body, problem, measured = 0, "", b"", "", True
    try:
        status, served, body, problem = _fetch(base_url, path, asked, settings.timeout)
    except TimeoutError:
        problem = f"no answer within {settings.timeout:g} s"
    except _REFUSALS as error:
        problem = f"no answer: {_words(error)}"
    except OSError as error:
        problem, measured = f"could not ask: {_words(error)}", False
    took = time.monotonic() - began
    if measured and asked and served != asked and (served or not problem):
        who = f"release {served}" if served else f"somebody without {ANSWER_HEADER}"
        problem, measured = f"{who} answered instead of {asked}", False
    elif not problem and path in settings.expect:
        problem = _missing(body, path, settings)
    return Sample(path, round(took * 1000, 3), status, asked, served, problem, measured)


def _fetch(base_url: str, path: str, asked: str, timeout: float) -> tuple[int, str, bytes, str]:
    """(status, release that answered, body, problem)."""
    base, url = urlsplit(base_url), urljoin(base_url, path)
    deadline = time.monotonic() + timeout
    for _ in range(MOST_REDIRECTS + 1):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        status, served, body, location = _get(url, asked, left, deadline)
        if status not in (301, 302, 303, 307, 308) or not location:
            return status, served, body, "" if 200 <= status < 300 else f"status {status}"
        url = urljoin(url, location)
        if urlsplit(url)[:2] != base[:2]:
            return status, served, b"", "redirects to another host"
    return status, served, b"", f"redirects more than {MOST_REDIRECTS} times"


def _get(url: str, asked: str, timeout: float, deadline: float) -> tuple[int, str, bytes, str]:
    """(status, release that answered, body, where it redirects to)."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    headers = {"User-Agent": "burger-verify", "Accept": "*/*", "Connection": "close"}
    if asked:
        headers[ASK_HEADER] = asked
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", headers=headers)
        answer = connection.getresponse()
        body = _body(answer, deadline)
        served = answer.headers.get(ANSWER_HEADER, "")[:200]
        return answer.status, served, body, answer.headers.get("Location", "")
    finally:
        connection.close()


def _body(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """At most `LARGEST_BODY` bytes, and not after `deadline`, however slowly they come."""
    body = bytearray()
    while len(body) < LARGEST_BODY and (chunk := answer.read1(min(65536, LARGEST_BODY - len(body)))):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def _missing(body: bytes, path: str, settings: Settings) -> str:
    pattern, text = settings.expect[path].pattern, body.decode(errors="replace")
    # Without the backslashes, which nobody wrote who gave a plain text.
    wanted = re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL)
    try:
        found = wanted in text if re.escape(wanted) == pattern else _search(pattern, text, settings.timeout)
    except subprocess.TimeoutExpired:
        return f"“{wanted[:80]}” was looked for longer than {settings.timeout:g} s; write an expression that is simpler"
    return "" if found else f"the page does not hold “{wanted[:80]}”"


def _search(pattern: str, text: str, timeout: float) -> bool:
    """In a process of its own: an expression may take for ever, and nothing else would go on in this one meanwhile."""
    program = "import json, re, sys; print(bool(re.search(*json.load(sys.stdin))))"
    argv = [sys.executable, "-I", "-S", "-c", program]
    asked = json.dumps([pattern, text]).encode()
    done = subprocess.run(argv, input=asked, capture_output=True, timeout=timeout, check=True, env={})
    return done.stdout.strip() == b"True"


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error or type(error).__name__)[:120]
