"""The shop's pages by Lighthouse, in Chromium: `python -m tests.bench.lighthouse`.

Lighthouse 12 comes from npm, into var/, when it is first needed. It simulates a slow 4G phone: 150 ms round trips, 1.6
Mbit/s, a processor four times slower than this one; on a machine that does something else, its times say little.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .place import ROOT
from .result import Result, median, tell
from .shop_place import order, shop, visitor

VISITS, OTHER_VISITS, ATTEMPTS = 5, 3, 3
TOOLS = ROOT / "var" / "lighthouse"
PROGRAM = TOOLS / "node_modules" / "lighthouse" / "cli" / "index.js"
CATEGORIES = {"performance": 98, "accessibility": 100, "best-practices": 100, "seo": 100}
FLAGS = "--headless=new --no-sandbox --disable-gpu"


def missing() -> str:
    """What this machine lacks, with the package that brings it; "" for nothing."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not here: Lighthouse 12 needs Node 18.20 or later"
    if not _chromium():
        return "no Chromium is here: apt-get install chromium"
    if not PROGRAM.exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(TOOLS), "lighthouse@12"]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            return "npm could not install lighthouse@12; the reason stands above"
    return ""


def _chromium() -> str:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


def visit(url: str, cookie: str = "") -> dict[str, Any]:
    """One report on one page, seen with these cookies."""
    with tempfile.TemporaryDirectory(prefix="burger-lighthouse-") as folder:
        out, headers = Path(folder) / "report.json", Path(folder) / "headers.json"
        headers.write_text(json.dumps({"Cookie": cookie} if cookie else {}))
        command = [
            "node", str(PROGRAM), url, "--quiet", "--output=json", f"--output-path={out}",
            f"--chrome-flags={FLAGS}", f"--extra-headers={headers}",
        ]  # fmt: skip
        env = os.environ | {"CHROME_PATH": _chromium()}
        # Now and then the browser's trace lacks its beginning, and Lighthouse says to run it again.
        for _ in range(ATTEMPTS):
            if subprocess.run(command, env=env, stdout=sys.stderr, check=False, timeout=180).returncode == 0:
                return dict(json.loads(out.read_text()))
    raise SystemExit(f"Lighthouse gave no report on {url} in {ATTEMPTS} attempts; what it said stands above.")


def figure(report: dict[str, Any], audit: str) -> float:
    return float(report["audits"][audit]["numericValue"])


def own_scripts(report: dict[str, Any]) -> float:
    """Kilobytes of script as they came over the wire."""
    requests = report["audits"]["network-requests"]["details"]["items"]
    return sum(item["transferSize"] for item in requests if item.get("resourceType") == "Script") / 1000


def lost(report: dict[str, Any], category: str) -> float:
    """How many of a category's 100 points the page does not get."""
    return 100 - round(report["categories"][category]["score"] * 100)


def of_menu(reports: list[dict[str, Any]]) -> list[Result]:
    def middle(audit: str, by: float = 1) -> float:
        return median([figure(report, audit) for report in reports]) / by

    return [
        Result("menu: largest contentful paint", middle("largest-contentful-paint"), None, 1200, "ms", "ours"),
        Result("menu: layout shift", middle("cumulative-layout-shift"), None, 0.02, "", "ours"),
        Result("menu: total blocking time", middle("total-blocking-time"), None, 50, "ms", "ours"),
        Result("menu: first view", middle("total-byte-weight", 1000), None, 100, "kB", "ours"),
        Result("menu: own scripts, compressed", median([own_scripts(r) for r in reports]), None, 15, "kB", "ours"),
    ]


def of_scores(page: str, reports: list[dict[str, Any]]) -> list[Result]:
    return [
        Result(
            f"{page}: {category}, points of 100 not reached",
            median([lost(report, category) for report in reports]), None, 100 - least, "", "ours",
        )
        for category, least in CATEGORIES.items()
    ]  # fmt: skip


def main() -> None:
    if lacking := missing():
        tell([Result("the shop by Lighthouse", None, None, 0, "", "ours", lacking)])
        return
    results = []
    with shop() as url:
        cookie = visitor(url)
        pages = {
            "menu": ("/", ""),
            "item": ("/menu/smash-meal/", ""),
            "cart": ("/cart/", cookie),
            "checkout": ("/checkout/", cookie),
            "order": (order(url), ""),
        }
        for page, (path, cookies) in pages.items():
            reports = [visit(url + path, cookies) for _ in range(VISITS if page == "menu" else OTHER_VISITS)]
            results += of_menu(reports) if page == "menu" else []
            results += of_scores(page, reports)
    tell(results)


if __name__ == "__main__":
    main()
