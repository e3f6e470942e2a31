"""A shop of a benchmark's own: built, migrated and served alone by one process."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx

from .place import ROOT, free_port, until

_ITEMS = ("cheese-royale", "smash-meal", "fries")


@contextlib.contextmanager
def shop() -> Iterator[str]:
    """Its address. The server has the settings of `shop_site`."""
    with tempfile.TemporaryDirectory(prefix="burger-bench-shop-") as folder:
        built, port = Path(folder) / "built", free_port()
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SECRET_KEY": "only-for-benchmarks-" * 3,
            "DATA_DIR": folder,
            "RELEASE": "bench",
            "LOG_LEVEL": "WARNING",
        }
        _run(env, "ordering.site.build_frontend", str(built))
        _run(env, "ordering.site.manage", "migrate", "--verbosity", "0")
        env |= {"STATIC_MANIFEST_DIR": str(built / "static"), "DJANGO_SETTINGS_MODULE": "tests.bench.shop_site"}
        command = [sys.executable, "-m", "ordering.site.serve", "--port", str(port), "--drain", "0"]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=sys.stderr)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _healthy(url), "the shop to serve", process)
            yield url
        finally:
            process.kill()
            process.wait(10)


def visitor(url: str) -> str:
    """The cookies of somebody with three things in their cart."""
    with httpx.Client(base_url=url) as client:
        page = client.get("/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        for item in _ITEMS:
            client.post("/cart/change/", data={"add": item, "csrfmiddlewaretoken": token[1] if token else ""})
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def order(url: str) -> str:
    """The path of an order's page."""
    body = {"name": "Ada", "lines": [{"item": item} for item in _ITEMS]}
    answer = httpx.post(f"{url}/api/orders", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    return str(answer.raise_for_status().json()["url"])


def _run(env: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=env, stdout=sys.stderr, check=True)


def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz").status_code == 200
    return False
