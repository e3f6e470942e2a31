"""The environment of the standalone shop, read and checked. Needs nothing but Django."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def listed(name: str, default: str) -> list[str]:
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def secret_key() -> str:
    """SECRET_KEY, or what stands in the file that SECRET_KEY_FILE names; at least 32 characters."""
    key, path = text("SECRET_KEY"), text("SECRET_KEY_FILE")
    if not key and path:
        try:
            key = Path(path).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"SECRET_KEY_FILE cannot be read: {error}.") from error
    if len(key) < 32:
        raise ImproperlyConfigured(
            f"The secret key has {len(key)} characters; expected at least 32. Set SECRET_KEY, "
            "or SECRET_KEY_FILE to a file that holds it, the same for every process of one environment. "
            "Make one with: "
            'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return key


def database() -> dict[str, Any]:
    """Django's settings of the database: PostgreSQL where DATABASE_URL names one, else SQLite in DATA_DIR."""
    url, folder = text("DATABASE_URL"), text("DATA_DIR")
    if url:
        return _postgresql(url)
    if not folder:
        raise ImproperlyConfigured(
            "Neither DATA_DIR nor DATABASE_URL is set. Set DATA_DIR to a folder where the shop keeps "
            "its SQLite database, or DATABASE_URL to postgresql://user:password@host:port/name."
        )
    path = Path(folder)
    if not path.is_dir():
        raise ImproperlyConfigured(f"DATA_DIR is {folder!r}, which is no folder. Make it first: mkdir -p {folder}")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path / "shop.sqlite3",
        "OPTIONS": {
            # The write lock is taken at a transaction's start, and waited for: no order fails half way.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # FULL: a confirmed order survives a power cut.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }


def _postgresql(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/") or port == -1:
        # The address may hold a password: it is not repeated here.
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {parts.scheme + '://' if parts.scheme else 'no scheme'}; expected "
            "postgresql://user:password@host:port/name. For SQLite leave it unset and set DATA_DIR."
        )
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ImproperlyConfigured(
            "DATABASE_URL names PostgreSQL, but its driver is not installed. Install psycopg[binary]."
        ) from error
    return {
        "ENGINE": "ordering.site.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
    }


def networks(name: str, default: str) -> list[str]:
    found = listed(name, default)
    for network in found:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name} holds {network!r}; expected networks such as 192.168.1.0/24, separated by commas."
            ) from error
    return found


def time_zone(name: str, default: str) -> str:
    zone = text(name, default)
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ImproperlyConfigured(f"{name} is {zone!r}; expected a name such as Europe/Berlin.") from error
    return zone


def currency(name: str, default: str) -> str:
    code = text(name, default)
    if not re.fullmatch("[A-Z]{3}", code):
        raise ImproperlyConfigured(f"{name} is {code!r}; expected an ISO 4217 code such as EUR.")
    return code


def basis_points(name: str, default: str) -> int:
    """A rate in percent with at most two decimals, in basis points."""
    rate = text(name, default)
    if not re.fullmatch(r"[0-9]{1,2}([.][0-9]{1,2})?", rate):
        raise ImproperlyConfigured(f"{name} is {rate!r}; expected percent, such as 19 or 7.5.")
    whole, _point, rest = rate.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0"))


def one_of(name: str, choices: tuple[str, ...]) -> str:
    """One of the choices; the first where nothing is said."""
    chosen = text(name, choices[0])
    if chosen not in choices:
        known = ", ".join(choice or "nothing" for choice in choices)
        raise ImproperlyConfigured(f"{name} is {chosen!r}; expected one of: {known}.")
    return chosen


def seconds(name: str, default: str) -> float:
    given = text(name, default)
    if not re.fullmatch(r"[0-9]{1,6}([.][0-9]{1,3})?", given):
        raise ImproperlyConfigured(f"{name} is {given!r}; expected seconds, such as 30.")
    return float(given)


def email() -> dict[str, Any]:
    """Django's settings of mail by EMAIL_URL: smtp://user:password@host:port (smtps: TLS from the start, smtp+tls:
    STARTTLS), file:///folder, or console:. By default files in DATA_DIR/mail, which send nothing."""
    url = text("EMAIL_URL") or (f"file://{Path(text('DATA_DIR')).resolve()}/mail" if text("DATA_DIR") else "console:")
    parts = urlsplit(url)
    backends = "django.core.mail.backends"
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": f"{backends}.console.EmailBackend"}
    if parts.scheme == "file" and parts.path.startswith("/"):
        return {"EMAIL_BACKEND": f"{backends}.filebased.EmailBackend", "EMAIL_FILE_PATH": parts.path}
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("smtp", "smtps", "smtp+tls") or not parts.hostname or port == -1:
        # The address may hold a password: it is not repeated here.
        raise ImproperlyConfigured(
            "EMAIL_URL cannot be read; expected smtp://user:password@host:port, smtps://..., smtp+tls://..., "
            "file:///folder or console:."
        )
    return {
        "EMAIL_BACKEND": f"{backends}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or {"smtp": 25, "smtps": 465, "smtp+tls": 587}[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_TIMEOUT": 20,
    }


def static_url(name: str, default: str) -> str:
    url = text(name, default)
    if not re.fullmatch(r"/([-\w.]+/)+", url):
        raise ImproperlyConfigured(f"{name} is {url!r}; expected a path such as /static/, with slashes around it.")
    return url


def yes(name: str) -> bool:
    value = text(name, "no").lower()
    if value not in ("1", "yes", "true", "on", "0", "no", "false", "off"):
        raise ImproperlyConfigured(f"{name} is {value!r}; expected yes or no.")
    return value in ("1", "yes", "true", "on")


def share(name: str, default: str) -> float:
    found = text(name, default)
    try:
        value = float(found)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ImproperlyConfigured(f"{name} is {found!r}; expected a share from 0 to 1, such as 0.25.")
    return value


def collector(name: str) -> str:
    url = text(name)
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ImproperlyConfigured(f"{name} is {url!r}; expected an address such as https://portal.example.com.")
    return url


def static_files(name: str, default: Path) -> tuple[Path, bool]:
    """The folder of collected static files, and whether it holds the manifest that gives them hashed names.

    Without a manifest the files are served under their own names, unless the folder was named on purpose.
    """
    given = text(name)
    folder = Path(given) if given else default
    collected = (folder / "staticfiles.json").is_file()
    if given and not collected:
        raise ImproperlyConfigured(
            f"{name} is {given!r}, which holds no staticfiles.json. "
            "Make it first: python -m ordering.site.build_frontend OUT_DIR, then name OUT_DIR/static."
        )
    return folder, collected
