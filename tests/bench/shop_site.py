"""Settings of the shop alone with one page more: a bare view behind Django's own cache, as large as the menu."""

from ordering.site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.shop_urls"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
