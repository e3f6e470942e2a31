"""The shop alone, at the root."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.generic import RedirectView

from ordering import conf
from ordering.site.sign_in import StaffSignIn

admin.site.site_header = admin.site.site_title = conf.shop_name()

urlpatterns = [
    path("kitchen/sign-in/", StaffSignIn.as_view(), name="sign-in"),
    path("kitchen/sign-out/", LogoutView.as_view(), name="sign-out"),
    path("admin/login/", RedirectView.as_view(pattern_name="sign-in", query_string=True)),
    path("admin/", admin.site.urls),
    path("", include("ordering.urls")),
]
handler400 = "ordering.site.errors.bad_request"
handler403 = "ordering.site.errors.forbidden"
handler404 = "ordering.site.errors.not_found"
handler500 = "ordering.site.errors.server_error"
