"""The shop alone for a WSGI server: its pages only, the frontend component serves the static files."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ordering.site.settings")
application = get_wsgi_application()
