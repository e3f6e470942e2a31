"""Serve the shop alone: python -m ordering.site.serve --port 8000

Beside the requests it finds out payments without an answer, does refunds and sends mails, see `ordering.upkeep`.

The schema has to be migrated before; until it is, /healthz answers 503 and says so.
"""

from __future__ import annotations

import sqlite3

from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from ordering import serving


def main() -> None:
    options = serving.arguments("Serve the burger shop.").parse_args()
    try:
        from ordering.site.asgi import application  # reads and checks the environment
    except ImproperlyConfigured as error:
        raise SystemExit(f"The shop cannot start: {error}") from error
    from ordering import upkeep  # its tables are known from here on

    anchor = _anchor()
    stop_upkeep = upkeep.in_background()
    try:
        serving.run(application, options)
    finally:
        stop_upkeep()
        if anchor:
            anchor.close()


def _anchor() -> sqlite3.Connection | None:
    """A connection that stays open: when the last one closes, SQLite folds its whole write-ahead log into the
    file, and each request would do that after its own."""
    if connection.vendor != "sqlite":
        return None
    anchor = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
    anchor.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return anchor


if __name__ == "__main__":
    main()
