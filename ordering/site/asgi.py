"""The shop alone for an ASGI server: its pages, and its static files where no frontend stands before it."""

import os
from pathlib import Path
from typing import cast

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

import ordering
from ordering import conf
from ordering.frontend.app import load, with_static
from ordering.measure.agent import BEACON_PATH
from ordering.measure.middleware import LARGEST_BEACON
from ordering.serving import App, within

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ordering.site.settings")
# What people send is far below; what is a little above is answered with a page that says so.
LARGEST_BODY = 2**20
_pages = within(cast(App, get_asgi_application()), LARGEST_BODY, {BEACON_PATH: LARGEST_BEACON})
# Without a manifest the pages name the files as they lie in the source.
_source = [Path(*django.__path__) / "contrib" / "admin" / "static", Path(*ordering.__path__) / "static"]
_folders = [settings.STATIC_ROOT] if settings.STATIC_ROOT else _source
application = with_static(
    {name: file for folder in _folders for name, file in load(folder, below=settings.STATIC_URL).items()},
    below=settings.STATIC_URL,
    release=conf.release(),
    otherwise=_pages,
)
