"""Serve static files and error pages: python -S -m ordering.frontend --root DIR --port N

Environment: STATIC_URL, below which the files are served (default /static/), and RELEASE, named on every
answer.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ordering import serving
from ordering.frontend.app import load_built, make_app


def main() -> None:
    parser = serving.arguments("Serve the shop's static files and error pages.")
    parser.add_argument("--root", type=Path, required=True, help="folder made by ordering.site.build_frontend")
    options = parser.parse_args()
    static_url = os.environ.get("STATIC_URL", "").strip() or "/static/"
    if not re.fullmatch(r"/([-\w.]+/)+", static_url):
        raise SystemExit(f"STATIC_URL is {static_url!r}; expected a path such as /static/, with slashes around it.")
    files = load_built(options.root, static_url=static_url)
    app = make_app(files, release=os.environ.get("RELEASE", "unreleased"))
    serving.run(app, options)


if __name__ == "__main__":
    main()
