"""Settings of the shop served alone, read top to bottom from the environment (see
ordering/site/README.md)."""

from __future__ import annotations

from pathlib import Path

from django.utils.crypto import salted_hmac

from ordering.site import environment as env

SECRET_KEY = env.secret_key()
DEBUG = False
ALLOWED_HOSTS = env.listed("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
HTTPS = env.yes("HTTPS")

RELEASE = env.text("RELEASE", "unreleased")
SHOP_NAME = env.text("SHOP_NAME", "Burger Stack")
SHOP_CURRENCY = env.currency("SHOP_CURRENCY", "EUR")
SHOP_NOTICE = env.text("SHOP_NOTICE")
SHOP_TIME_ZONE = TIME_ZONE = env.time_zone("SHOP_TIME_ZONE", "UTC")
SHOP_TAX_RATE = env.basis_points("SHOP_TAX_RATE", "0")
SHOP_PAYMENT_PROVIDER = env.one_of("PAYMENT_PROVIDER", ("", "sandbox"))
SHOP_PAYMENT_PATIENCE = env.seconds("PAYMENT_PATIENCE", "15")
SHOP_PAYMENT_DEADLINE = env.seconds("PAYMENT_DEADLINE", "120")
SHOP_SANDBOX_DELAY = env.seconds("SANDBOX_DELAY", "0")
SHOP_ACCOUNTS = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
SHOP_PUBLIC_URL = env.text("SHOP_PUBLIC_URL")
SHOP_EMAIL_FROM = env.text("EMAIL_FROM", "shop@localhost")
globals().update(env.email())
SHOP_KITCHEN_NETWORKS = env.networks("KITCHEN_ALLOWED", "127.0.0.0/8,::1/128")

# Where measurements go, and by what they are believed; a rollout gives both. Without them nothing is measured.
MEASURE_URL = env.collector("MEASURE_URL")
MEASURE_TOKEN = env.text("MEASURE_TOKEN")
MEASURE_SAMPLE = env.share("MEASURE_SAMPLE", "1")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ordering",
]
MIDDLEWARE = [
    "ordering.measure.middleware.Measured",
    "ordering.site.middleware.HealthAndRelease",
    "django.middleware.security.SecurityMiddleware",
    "ordering.site.middleware.ContentSecurityPolicy",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "ordering.language.ShopLanguage",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ordering.site.middleware.DatabaseTrouble",
]
ROOT_URLCONF = "ordering.site.urls"
ASGI_APPLICATION = "ordering.site.asgi.application"
WSGI_APPLICATION = "ordering.site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).resolve().parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
LANGUAGE_CODE = "en"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "ordering:kitchen"
LOGOUT_REDIRECT_URL = "ordering:menu"

# A page and its assets come from one release: each release has an address of its own for them.
STATIC_URL = env.static_url("STATIC_URL", "/static/")
_folder, _collected = env.static_files("STATIC_MANIFEST_DIR", Path(__file__).resolve().parent.parent.parent / "static")
STATIC_ROOT = _folder if _collected else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        if _collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# Environments of the shop on one host differ by their port, which cookies do not: their names tell them
# apart.
_suffix = salted_hmac("ordering.cookies", "", SECRET_KEY).hexdigest()[:8]
SHOP_CART_COOKIE = f"shop_cart_{_suffix}"
SHOP_LANGUAGE_COOKIE = f"shop_language_{_suffix}"
SESSION_COOKIE_NAME = f"shop_session_{_suffix}"
CSRF_COOKIE_NAME = f"shop_csrf_{_suffix}"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "ordering.site.errors.csrf_failed"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
# The admin's lists post several fields a row.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {"django.request": {"level": "ERROR"}},
}
# Redirecting to HTTPS is the router's business, and without HTTPS there are no secure cookies to ask for.
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W021", "security.W005"]
if not HTTPS:
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W012", "security.W016"]
