"""Every address of the installation."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("portal.routes")),
    path("api/", include("pipelines.api.urls")),
    path("hooks/", include("pipelines.webhooks.urls")),
    path("shop/", include("ordering.urls")),
    # One way to sign in, with its limit on wrong passwords.
    path("admin/login/", RedirectView.as_view(pattern_name="portal:sign-in", query_string=True)),
    path("admin/", admin.site.urls),
]

handler404 = "portal.middleware.not_found"
handler500 = "portal.middleware.server_error"
