"""The portal's settings, read top to bottom. Every BURGER_* variable is described in docs/operations.md."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()


def _number(name: str, default: float, kind: type[int] | type[float] = int, least: float = 0) -> Any:
    """A variable that holds a number, `least` or more. Raises ImproperlyConfigured."""
    found = env.str(name, default=str(default))
    with contextlib.suppress(ValueError):
        if least <= kind(found) < float("inf"):
            return kind(found)
    words = "a whole number" if kind is int else "a number"
    raise ImproperlyConfigured(f"{name} is {found!r}; expected {words} of at least {least:g}, such as {default}.")


BASE_DIR = Path(__file__).resolve().parent.parent

# Where all state lives, and the first of the ports that this installation uses.
HOME = Path(env.str("BURGER_HOME", default=str(BASE_DIR / "var"))).resolve()
HOME.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds secrets
# Locks and doorbells of this machine: the state folder itself may be shared with others.
RUN_DIR = Path(env.str("BURGER_RUN_DIR", default=str(HOME / "run"))).resolve()
PORT_BASE = _number("BURGER_PORT_BASE", default=8400)
LISTEN = env.str("BURGER_LISTEN", default="127.0.0.1")
PUBLIC_URL = env.str("BURGER_PUBLIC_URL", default=f"http://127.0.0.1:{PORT_BASE}").rstrip("/")
if not 1024 <= PORT_BASE <= 65_000:
    raise ImproperlyConfigured(
        f"BURGER_PORT_BASE is {PORT_BASE}; expected a number from 1024 to 65000. The portal takes this port, "
        "the environments take the next ones."
    )

# The environments of the `local` rollout target and the port that each is served on.
ENVIRONMENT_PORTS: dict[str, int] = {
    name: PORT_BASE + offset
    for offset, name in enumerate(env.list("BURGER_ENVIRONMENTS", default=["staging", "production"]), start=1)
}
# Cookies know hosts and no ports: where the releases are reached under another name than the portal, neither they nor
# the portal ever see the other's.
PORTAL_HOST = urlsplit(PUBLIC_URL).hostname or ""
ENVIRONMENT_HOST = env.str(
    "BURGER_ENVIRONMENT_HOST", default={"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(PORTAL_HOST, "")
)
# Where the releases of the `local` target report what they measure: this portal, without a proxy in between.
_reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(LISTEN, f"[{LISTEN}]" if ":" in LISTEN else LISTEN)  # noqa: S104
COLLECTOR_URL = env.str("BURGER_COLLECTOR_URL", default=f"http://{_reached}:{PORT_BASE}").rstrip("/")


def _secret_key() -> str:
    """The key from the environment, else one made for this installation and kept in its home (mode 0600)."""
    if given := env.str("BURGER_SECRET_KEY", default=""):
        if len(given) < 32:
            raise ImproperlyConfigured(
                f"BURGER_SECRET_KEY has {len(given)} characters; expected at least 32. Leave it unset to have one made."
            )
        return given
    path = HOME / "secret-key"
    try:
        return path.read_text()
    except FileNotFoundError:
        made = path.with_name(f"secret-key.{secrets.token_hex(4)}")
        made.touch(mode=0o600)
        made.write_text(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):  # only one of several processes that start at once wins
            path.hardlink_to(made)
        made.unlink()
        return path.read_text()


SECRET_KEY = _secret_key()
DEBUG = env.bool("BURGER_DEBUG", default=False)
ALLOWED_HOSTS = env.list("BURGER_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("BURGER_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_q",
    "teams",
    "pipelines",
    "pipelines.performance",
    "ordering",
    "portal",
]

MIDDLEWARE = [
    "portal.middleware.unavailable",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.middleware.content_security_policy",
    "portal.middleware.under_its_own_host",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "ordering.language.ShopLanguage",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.middleware.nothing_hidden",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context.shell",
            ]
        },
    }
]

# One database. SQLite takes the write lock at the start of each transaction, so that a reader which turns into a
# writer can never fail half way, and waits for it instead of failing at once.
DATABASES = {"default": env.db_url("BURGER_DATABASE_URL", default=f"sqlite:///{HOME / 'burger.sqlite3'}")}
DATABASES["default"]["CONN_MAX_AGE"] = None
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "timeout": _number("BURGER_DATABASE_TIMEOUT", default=10),
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
    }
# With workers or web on several machines: Redis or Valkey carries the wake-ups between them, and nothing else.
REDIS_URL = env.str("BURGER_REDIS_URL", default="")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured(
        "BURGER_REDIS_URL has to begin with redis://, rediss:// or unix://, such as redis://user:password@host:6379/0."
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "teams.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "portal:sign-in"
LOGIN_REDIRECT_URL = "portal:inbox"
LOGOUT_REDIRECT_URL = "portal:sign-in"

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("BURGER_TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.str("BURGER_STATIC_ROOT", default="") or None  # for `collectstatic`, where another server serves them
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# Safe defaults behind TLS; the embedded installation speaks plain HTTP on the loopback interface only.
SECURE = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BURGER_BEHIND_PROXY", default=False) else None
)
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
# Two installations on one host differ only by their port, which cookies do not.
SESSION_COOKIE_NAME = f"burger_session_{PORT_BASE}"
CSRF_COOKIE_NAME = f"burger_csrf_{PORT_BASE}"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "pipelines.api.authentication.BearerToken",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["pipelines.api.permissions.MemberOfATeam"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "pipelines.api.errors.handle",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Burger Stack",
    "DESCRIPTION": "Runs, gates, environments and pipelines.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
REST_KNOX = {"TOKEN_TTL": None, "AUTO_REFRESH": False, "TOKEN_PREFIX": "bgr_", "AUTH_HEADER_PREFIX": "Bearer"}

# The queue only wakes workers up; what is to be done stands in the database: docs/decisions/0001-database-as-truth.md
WORKERS = _number("BURGER_WORKERS", default=4, least=1)
Q_CLUSTER = {
    "name": "burger",
    "broker_class": "pipelines.engines.local.broker.WakeUpBroker",
    "orm": "default",
    "workers": WORKERS,
    "queue_limit": 0,
    "bulk": 10,
    "poll": 1,
    # A worker goes on while anything is ready; what one stage may take is the stage's own timeout.
    "timeout": 30 * 86_400,
    "retry": 31 * 86_400,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "guard_cycle": 1,
    "scheduler": False,
    "catch_up": False,
    "log_level": "WARNING",
}

# How long a worker may be silent before its stage counts as lost, and how often it says that it is there (seconds).
LEASE = _number("BURGER_LEASE", default=10.0, kind=float, least=1)
HEARTBEAT = LEASE / 5

# Days after the end of a run for which its log and what it made are kept; 0 keeps them for ever.
KEEP_RUNS = _number("BURGER_KEEP_RUNS", default=30.0, kind=float)
if KEEP_RUNS < 0:
    raise ImproperlyConfigured(f"BURGER_KEEP_RUNS is {KEEP_RUNS:g}; expected days, or 0 to keep everything for ever.")

# Days for which measurements are kept, a day's in one row for each series; 0 keeps them for ever.
KEEP_MEASUREMENTS = _number("BURGER_KEEP_MEASUREMENTS", default=400)
# Seconds between two looks at every environment's pages, 0 for none; which pages; and the browser to look with, found
# by its usual names where none is given.
PROBE_EVERY = _number("BURGER_PROBE_EVERY", default=300)
PROBE_PATHS = env.list("BURGER_PROBE_PATHS", default=["/"])
CHROMIUM = env.str("BURGER_CHROMIUM", default="")
if wrong := [path for path in PROBE_PATHS if not path.startswith("/") or set(path) & set(" ?#")]:
    raise ImproperlyConfigured(f"BURGER_PROBE_PATHS holds {wrong[0]!r}; expected paths such as /,/menu.")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("BURGER_LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django-q": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"] if not SECURE else []
