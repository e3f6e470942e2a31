"""Pages that are slow in known ways, served with the shop's browser agent and with a reference beside it."""

from __future__ import annotations

import gzip
import http.server
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

AGENT = Path(__file__).resolve().parents[2] / "ordering" / "static" / "ordering" / "agent.js"
# The published implementation of the definitions. From npm at the first test that needs it, into the package cache.
REFERENCE = "web-vitals@6.2.3"
CACHE = Path(__file__).resolve().parents[2] / "var" / "npm"

# Reports the reference's last word on each metric when the page is hidden, after the reference's own listeners.
RECORD = """
const seen = {};
for (const name of ["LCP", "INP", "CLS", "FCP", "TTFB"]) webVitals["on" + name]((metric) => {
  seen[name] = metric.value;
  seen.navigation = metric.navigationType;
}, {reportAllChanges: true});
addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") navigator.sendBeacon("/reference", JSON.stringify(seen));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const name of ["LCP", "INP", "CLS", "FCP", "TTFB"]) delete seen[name];
}, true);
"""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Slow</title>
<style>body { font: 20px sans-serif } .big { font-size: 60px } #gap { height: 0 } button { padding: 20px }</style>
REFERENCE
<script src="/agent.js" async data-to="/measure" data-token="a.token" data-sample="1"></script>
<p>First words</p><div id="gap"></div><p class="big" id="late"></p>
<button id="slow">Slow</button><button id="quick">Quick</button><a href="/next">Next</a>
<script src="/page.js"></script></html>"""

SCRIPT = """
const wait = (time) => new Promise((done) => setTimeout(done, time));
const shift = (by) => { document.getElementById("gap").style.height = by + "px"; };
const busy = (time) => { const until = performance.now() + time; while (performance.now() < until); };
document.getElementById("slow").addEventListener("click", () => busy(150));
document.getElementById("quick").addEventListener("click", () => busy(60));
new PerformanceObserver((list) => list.getEntries().forEach(({interactionId, duration}) => {
  const felt = document.body.dataset;
  if (interactionId) felt.longest = Math.max(felt.longest || 0, duration);
})).observe({type: "event", durationThreshold: 40});
(async () => {
  await wait(200);
  document.getElementById("late").textContent = "The largest words of this page come late";
  await wait(150); shift(40); await wait(150); shift(90);
  await wait(1300); shift(300);
  await wait(150);
  document.body.dataset.done = "yes";
})();
"""


def reference() -> str:
    """The script, or an OSError that says what is missing."""
    found = CACHE / REFERENCE.replace("@", "-") / "web-vitals.iife.js"
    if not found.exists():
        _fetch(found)
    return found.read_text()


def _fetch(to: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command in (["npm", "pack", "--silent", REFERENCE], ["tar", "-xzf", *()]):
            if command[0] == "tar":
                command = ["tar", "-xzf", next(Path(folder).glob("*.tgz")).name, "package/dist/web-vitals.iife.js"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        to.parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / "package" / "dist" / "web-vitals.iife.js").replace(to)


def wait_until_felt(page: Any, duration: int) -> None:
    """A browser tells of an interaction when it has painted what came of it."""
    page.wait_for_function("(duration) => document.body.dataset.longest >= duration", arg=duration)


def size_on_the_wire() -> int:
    """Bytes of the agent as a browser fetches it."""
    return len(gzip.compress(AGENT.read_bytes(), 9))


class Site:
    """`beacons` and `references` are what came in, in order."""

    def __init__(self, script: str) -> None:
        self.beacons: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.references: list[dict[str, Any]] = []
        site = self
        known = f"<script>{script}</script><script>{RECORD}</script>" if script else ""
        files = {
            "/slow": PAGE.replace("REFERENCE", known).encode(),
            "/next": b"<!doctype html><title>Next</title><p>Next",
            "/agent.js": AGENT.read_bytes(),
            "/page.js": SCRIPT.encode(),
        }

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                body = files.get(path, b"")
                if path == "/slow":
                    time.sleep(0.05)
                self.send_response(200 if path in files else 404)
                self.send_header("Content-Type", "text/javascript" if path.endswith(".js") else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/measure":
                    site.bodies.append(body)
                    site.beacons.append(json.loads(body))
                else:
                    site.references.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, beacons: int, references: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.beacons) < beacons or len(self.references) < references:
            assert time.monotonic() < deadline, f"{len(self.beacons)} beacons, {len(self.references)} references"
            time.sleep(0.02)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
