"""Asks the site for pages at an interval, from wherever it runs, and says how that went. Needs nothing but Python.

    PROBE_URLS       addresses, separated by blanks: http://frontend/healthz http://backend/healthz
    PROBE_INTERVAL   seconds between two rounds (default 10)
    PROBE_TIMEOUT    seconds that one answer may take (default 5)
    NODE_NAME        named in the metrics, from the downward API
    RELEASE          its own release, named on every answer
    PORT             where it answers (default 9101)

GET /metrics has the figures as Prometheus reads them; GET /healthz is 200 while rounds are made, whatever they find: an
agent that sees the site down is well.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


@dataclass(slots=True)
class Figures:
    """What is known of one address. `answers` counts by status, "none" where no answer came; `buckets` counts answers
    by the seconds that they took at most."""

    up: int = 0
    release: str = ""
    answers: dict[str, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    seconds: float = 0.0
    count: int = 0

    def note(self, status: str, seconds: float, release: str) -> None:
        self.up = int(status.startswith(("2", "3")))
        self.release = release
        self.answers[status] = self.answers.get(status, 0) + 1
        self.seconds += seconds
        self.count += 1
        for number, limit in enumerate(BUCKETS):
            self.buckets[number] += seconds <= limit


class Agent:
    """Probes in a thread of its own; figures are read and written under one lock."""

    def __init__(self, urls: list[str], *, interval: float, timeout: float, node: str) -> None:
        self.urls, self.interval, self.timeout, self.node = urls, interval, timeout, node
        self.stopping = threading.Event()
        self._figures = {url: Figures() for url in urls}
        self._lock = threading.Lock()
        self._round = time.monotonic()

    def run(self) -> None:
        while not self.stopping.is_set():
            begun = time.monotonic()
            for url in self.urls:
                noted = ask(url, self.timeout)
                with self._lock:
                    self._figures[url].note(*noted)
            self._round = time.monotonic()
            self.stopping.wait(max(0.0, self.interval - (self._round - begun)))

    def is_well(self) -> bool:
        return time.monotonic() - self._round < 3 * (self.interval + self.timeout * len(self.urls))

    def metrics(self) -> str:
        with self._lock:
            lines = [line for url, figures in self._figures.items() for line in self._lines(url, figures)]
        return "\n".join([*HELP, *lines, ""])

    def _lines(self, url: str, found: Figures) -> list[str]:
        labels = f'url="{escaped(url)}",node="{escaped(self.node)}"'
        lines = [f'site_up{{{labels},release="{escaped(found.release)}"}} {found.up}']
        for status, count in sorted(found.answers.items()):
            lines.append(f'site_answers_total{{{labels},status="{status}"}} {count}')
        for limit, count in zip(BUCKETS, found.buckets, strict=True):
            lines.append(f'site_latency_seconds_bucket{{{labels},le="{limit}"}} {count}')
        lines.append(f'site_latency_seconds_bucket{{{labels},le="+Inf"}} {found.count}')
        lines.append(f"site_latency_seconds_sum{{{labels}}} {found.seconds:.6f}")
        lines.append(f"site_latency_seconds_count{{{labels}}} {found.count}")
        return lines


HELP = (
    "# HELP site_up 1 when the last answer was no error.",
    "# TYPE site_up gauge",
    "# HELP site_answers_total Answers by status; none: there was no answer.",
    "# TYPE site_answers_total counter",
    "# HELP site_latency_seconds How long answers took.",
    "# TYPE site_latency_seconds histogram",
)


def ask(url: str, timeout: float) -> tuple[str, float, str]:
    """(status, seconds, release as the site names it); the status is "none" where no answer came."""
    begun = time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "burger-agent"})  # noqa: S310 - checked at start
    status, release = "none", ""
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            answer.read()
            status, release = str(answer.status), answer.headers.get("X-Release", "")
    except urllib.error.HTTPError as error:
        status, release = str(error.code), error.headers.get("X-Release", "")
        error.close()
    except (OSError, ValueError):
        status = "none"
    return status, time.monotonic() - begun, release


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def handler(agent: Agent, release: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, agent.metrics(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                well = agent.is_well()
                self._answer(200 if well else 503, '{"state": "%s"}' % ("ok" if well else "stuck"), "application/json")
            else:
                self._answer(404, "There are /metrics and /healthz.\n", "text/plain")

        def _answer(self, status: int, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Release", release)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Whoever asks for metrics does so all day; nobody reads that."""

    return Handler


def number(name: str, default: float) -> float:
    try:
        found = float(os.environ.get(name) or default)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise SystemExit(f"{name} is {os.environ[name]!r}; expected a number above 0.")
    return found


def addresses() -> list[str]:
    found = os.environ.get("PROBE_URLS", "").split()
    wrong = [url for url in found if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname]
    if wrong or not found:
        raise SystemExit(
            f"PROBE_URLS has {' '.join(wrong) or 'nothing'}; expected addresses such as http://site/healthz."
        )
    return found


def main() -> None:
    agent = Agent(
        addresses(),
        interval=number("PROBE_INTERVAL", 10),
        timeout=number("PROBE_TIMEOUT", 5),
        node=os.environ.get("NODE_NAME", ""),
    )
    handlers = handler(agent, os.environ.get("RELEASE", "unreleased"))
    server = ThreadingHTTPServer(("", int(number("PORT", 9101))), handlers)

    def stop(*_: object) -> None:
        agent.stopping.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=agent.run, daemon=True).start()
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    sys.exit(main())
