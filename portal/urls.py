"""Every address of the installation."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("portal.routes")),
    path("api/", include("pipelines.api.urls")),
    path("hooks/", include("pipelines.webhooks.urls")),
    path("shop/", include("ordering.urls")),
    path("admin/", admin.site.urls),
]

handler500 = "portal.middleware.server_error"
